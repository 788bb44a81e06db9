"""Profile one artifact through the runtime that will serve it: accuracy, latency, device time."""

from __future__ import annotations

import gc
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from compilers import calls
from compilers.datasets import Data
from compilers.scoring import Score
from compilers.stats import percentiles
from model_repo import runtime
from model_repo.records import LatencyPoint, Model, Profile
from model_repo.runtime import Session
from model_repo.tensors import Array

WARM_UPS = 3
ROUNDS = 10
BUDGET_S = 0.6
FEWEST_RUNS, MOST_RUNS = 5, 500
PACKAGES = ("farebox", "numpy", "onnxruntime")


def profile(
    path: Path,
    artifact_format: str,
    model: Model,
    data: Data,
    *,
    score: Callable[[Session], Score],
    batch_sizes: Sequence[int],
    seed: int,
    limit_s: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> Profile:
    """Open the artifact as serving will, score it, and time each batch size on rows of `data`.

    A model that does not batch is timed at batch size 1: one call. limit_s bounds each run.
    Raises Corrupt for an unreadable artifact, BadInput for inputs it refuses, Expired past limit_s.
    """
    tell = progress or (lambda _: None)
    before = _resident_bytes()
    start = time.monotonic()
    session = runtime.load(artifact_format).open_session(path, model)
    load_s = time.monotonic() - start
    try:
        clock = _Clock(session, model, data, np.random.default_rng(seed), limit_s)
        clock.run(1)
        # Growth shows nothing where freed memory is used again; the weights at least are held.
        memory = max(_resident_bytes() - before, path.stat().st_size)
        tell("accuracy")
        merit = score(session)
        latency = _time(clock, sorted(set(batch_sizes)) if model.batches else [1], tell)
    finally:
        session.close()
    return Profile(
        merit.value,
        merit.low,
        merit.high,
        merit.samples,
        latency,
        load_s,
        memory,
        _host(),
        "measured",
        datetime.now(UTC),
        threads=1,
        seed=seed,
        versions=_versions(),
    )


class _Clock:
    """Runs batches of rows drawn at random, and says how long each took."""

    def __init__(
        self,
        session: Session,
        model: Model,
        data: Data,
        rng: np.random.Generator,
        limit_s: float | None,
    ) -> None:
        self._session, self._model, self._data = session, model, data
        self._rng, self._limit_s = rng, limit_s
        self._rows_per_call = calls.rows_per_call(model, data)

    def run(self, batch_size: int) -> tuple[int, int]:
        """Wall and device nanoseconds of one batch."""
        inputs = self._draw(self._rows_per_call or batch_size)
        start = time.monotonic_ns()
        _, device_ns = self._session.run(inputs, self._limit_s)
        return time.monotonic_ns() - start, device_ns

    def _draw(self, rows: int) -> Mapping[str, Array]:
        return calls.feed(self._model, self._data, self._rng.integers(len(self._data), size=rows))


def _time(
    clock: _Clock, batch_sizes: Sequence[int], tell: Callable[[str], None]
) -> tuple[LatencyPoint, ...]:
    """Every batch size in turn, round after round: a slow spell of the machine meets them all."""
    with _no_collection():
        planned = {size: _plan(clock, size) for size in batch_sizes}
        seen: dict[int, list[tuple[int, int]]] = {size: [] for size in batch_sizes}
        for turn in range(ROUNDS):
            for size, runs in planned.items():
                due = runs * (turn + 1) // ROUNDS - len(seen[size])
                if due and runs > FEWEST_RUNS:
                    clock.run(size)  # not counted: the size before left other data in the caches
                seen[size].extend(clock.run(size) for _ in range(due))
            tell(f"latency, round {turn + 1} of {ROUNDS}")
    return tuple(_point(size, runs) for size, runs in seen.items())


def _plan(clock: _Clock, batch_size: int) -> int:
    """Warm up, and say how many runs the time allowed has room for."""
    budget_ns = int(BUDGET_S * 1e9)
    warm_ups = [clock.run(batch_size)[0]]
    while len(warm_ups) < WARM_UPS and warm_ups[0] < budget_ns:
        warm_ups.append(clock.run(batch_size)[0])
    return max(FEWEST_RUNS, min(MOST_RUNS, budget_ns // max(1, min(warm_ups))))


def _point(batch_size: int, runs: Sequence[tuple[int, int]]) -> LatencyPoint:
    wall, device = zip(*runs, strict=True)
    p50, p95, p99 = percentiles(wall, 50, 95, 99)
    # The median: one run that the machine interrupted must not become money.
    (device_ns,) = percentiles(device, 50)
    return LatencyPoint(batch_size, p50 / 1e9, p95 / 1e9, p99 / 1e9, device_ns / 1e9, len(runs))


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python's garbage collector out of the measured runs."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:  # no /proc on this system: the growth is unknown
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _host() -> str:
    """The processor's name, its logical cores and the system."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((li.partition(":")[2].strip() for li in lines if li[:10] == "model name"), name)
    except OSError:  # no /proc on this system: the machine's name stands
        pass
    return f"{name}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a checkout that is not installed
            found[package] = "unknown"
    return found
