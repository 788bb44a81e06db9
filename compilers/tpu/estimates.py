"""Asks the real TPU compiler, ahead of time and without a TPU, how long a program would take."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import msgspec
import numpy as np

from compilers.contracts import Estimate, Job
from compilers.tpu import ahead, chips
from compilers.tpu.chips import Compiled
from model_repo.errors import BadInput, MissingExtra, Unsupported
from model_repo.records import LatencyPoint

LIBRARIES = ("jax", "jaxlib", "libtpu")
Wanted = list[tuple[str, int]]


def check(topologies: Sequence[str]) -> None:
    """Raise BadInput unless there is a topology, and each is known, once."""
    if not topologies:
        raise BadInput("topologies is empty: name at least one, such as v5e:2x2")
    for topology in topologies:
        chips.chip_of(topology)
    if len(set(topologies)) < len(topologies):
        raise BadInput(f"topologies names one twice: {', '.join(topologies)}")


def estimate(path: Path, topologies: Sequence[str], job: Job) -> Estimate:
    """Figures of one chip of the first topology; those of the others are notes.

    It is compiled at the smallest, a middle and the largest batch, the others at both ends: a
    compilation takes seconds to minutes. What lies between is interpolated, in a straight line.
    Raises MissingExtra without libtpu, and Unsupported, with its reason, for what it refuses.
    """
    check(topologies)
    for name in LIBRARIES:
        if find_spec(name) is None:
            raise MissingExtra("estimating for a TPU", name, "tpu")
    first, *others = topologies
    sizes = sorted(job.batch_sizes)
    wanted = [(first, size) for size in sorted({sizes[0], sizes[len(sizes) // 2], sizes[-1]})]
    wanted += [(other, size) for other in others for size in sorted({sizes[0], sizes[-1]})]
    found = list(_compiled(path, wanted, job))
    mine = [each for each in found if each.topology == first]
    versions = {name: version(name) for name in LIBRARIES}
    return Estimate(
        latency=tuple(_points(mine, sizes)),
        source="estimated",
        host=f"TPU {_name(first)}, estimated by libtpu {versions['libtpu']}",
        memory_bytes=max(each.memory_bytes for each in mine),
        versions=versions,
        notes={key: value for each in found for key, value in _notes(each)},
        hardware=f"{_name(first)} chip",
    )


def _name(topology: str) -> str:
    return topology.partition(":")[0]


def _points(compiled: list[Compiled], sizes: list[int]) -> Iterator[LatencyPoint]:
    """Whoever counts on the upper end is not let down by the estimate."""
    spans = [chips.span(each, chips.chip_of(each.topology)) for each in compiled]
    known = [each.batch_size for each in compiled]
    lows, highs = (np.interp(sizes, known, ends) for ends in zip(*spans, strict=True))
    for size, low, high in zip(sizes, lows.tolist(), highs.tolist(), strict=True):
        yield LatencyPoint(size, high, high, high, high, 0, low, high)


def _notes(compiled: Compiled) -> Iterator[tuple[str, float]]:
    low, high = chips.span(compiled, chips.chip_of(compiled.topology))
    start = f"tpu.{_name(compiled.topology)}.batch{compiled.batch_size}"
    yield f"{start}.flops", compiled.flops
    yield f"{start}.bytes", compiled.bytes_accessed
    yield f"{start}.memory_bytes", float(compiled.memory_bytes)
    yield f"{start}.optimal_s", compiled.optimal_s
    yield f"{start}.cycles", float(compiled.cycles)
    yield f"{start}.low_s", low
    yield f"{start}.high_s", high


def _compiled(path: Path, wanted: Wanted, job: Job) -> Iterator[Compiled]:
    """Each as soon as it is there; the process ends with this one, Ctrl-C included."""
    command = [sys.executable, "-m", ahead.__name__, str(path)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # what goes wrong is in the answers, and the rest is chatter
        text=True,
        env=os.environ | ahead.ENVIRONMENT,
    )
    assert process.stdin and process.stdout, "both are pipes"
    try:
        with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
            json.dump(wanted, stdin)
        for place, (topology, size) in enumerate(wanted, 1):
            job.say(f"compiling for {topology}, batch {size} ({place} of {len(wanted)})")
            yield _read(process.stdout.readline(), topology, size, process)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _read(line: str, topology: str, size: int, process: subprocess.Popen[str]) -> Compiled:
    where = f"the compiler of TPUs, for {topology} at batch {size},"
    if not line:
        raise Unsupported(f"{where} ended with code {process.wait()}")
    answer = json.loads(line)
    if "error" in answer:
        raise Unsupported(f"{where} says: {answer['error']}")
    return msgspec.convert(answer, Compiled)
