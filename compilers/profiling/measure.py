"""Profile one artifact through the runtime that will serve it: accuracy, latency, device time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from compilers.datasets import Data
from compilers.profiling import calls, host, timing
from compilers.profiling.scoring import Score
from model_repo import runtime
from model_repo.records import Model, Profile
from model_repo.runtime import Session
from model_repo.tensors import Array

PACKAGES = ("farebox", "numpy")
PAUSE_S = 5e-5
TEXT = json.dumps([number / 7 for number in range(600)])


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

    Times are those of a server with something to do but not too much: see `await_request`.
    A model that does not batch is timed at batch size 1: one call. limit_s bounds each run.
    Raises Corrupt for an unreadable artifact, BadInput for inputs it refuses, Expired past limit_s.
    """
    tell = progress or (lambda _: None)
    opener = runtime.load(artifact_format)
    before = host.resident_bytes()
    start = time.monotonic()
    session = opener.open_session(path, model)
    load_s = time.monotonic() - start
    try:
        clock = _Clock(session, model, data, np.random.default_rng(seed), limit_s)
        clock.run(1)
        # Growth shows nothing where freed memory is used again; the weights at least are held.
        memory = max(host.resident_bytes() - before, path.stat().st_size)
        tell("accuracy")
        merit = score(session)
        sizes = sorted(set(batch_sizes)) if model.batches else [1]
        others = host.Others()
        latency = timing.points(clock.run, sizes, tell)
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
        host.name(),
        "measured",
        datetime.now(UTC),
        threads=1,
        seed=seed,
        versions=host.versions((*PACKAGES, *opener.LIBRARIES)),
        cpu_flags=host.cpu_flags(),
        others_share=others.share(),
    )


def await_request() -> None:
    """Do what a serving process does before a batch: sleep until there is one, and read text.

    A run right after another of the same model finds its code and weights in the caches and its
    branches predicted. One that a request wakes does not: 10 to 20 us more, three times the device
    time of the smallest models. That is what all but a saturated gateway pays.
    """
    time.sleep(PAUSE_S)
    json.dumps(json.loads(TEXT))


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
        await_request()
        start = time.monotonic_ns()
        _, device_ns = self._session.run(inputs, self._limit_s)
        return time.monotonic_ns() - start, device_ns

    def _draw(self, rows: int) -> Mapping[str, Array]:
        return calls.feed(self._model, self._data, self._rng.integers(len(self._data), size=rows))
