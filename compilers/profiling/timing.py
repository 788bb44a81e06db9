"""Time each batch size in rounds, until a repeat would find the same median device time."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from compilers.profiling.stats import percentiles
from model_repo.records import LatencyPoint

Run = Callable[[int], tuple[int, int]]
"""Runs a batch of that size; returns its wall and its device nanoseconds."""

WARM_UPS = 3
SLOW_S = 0.5
"""A run longer than this warms up as well as three."""
FEWEST_ROUNDS = 6
"""Of fewer, not even the least and the greatest bound the median at 95 %."""
CHUNK_RUNS, CHUNK_S = 25, 0.02
"""Runs of one size in a round: at most so many, or so long, but one at least."""
SPAN_S, LIMIT_S = 1.5, 4.0
"""All rounds together take at least the one; past the other, what is not settled stays so."""


def points(
    run: Run, batch_sizes: Sequence[int], tell: Callable[[str], None]
) -> tuple[LatencyPoint, ...]:
    """Every batch size in turn, round after round: a slow spell of the machine meets them all.

    A size is done once the interval of its median lies within SETTLED of it. It is looked at
    after every round, so that the interval covers a little less often than it says.
    """
    with _no_collection():
        lanes = [_Lane(run, size) for size in batch_sizes]
        start, turn, waiting = time.monotonic(), 0, lanes
        while waiting:
            for lane in waiting:
                lane.add_round()
            turn += 1
            tell(f"latency, round {turn}")
            took = time.monotonic() - start
            if turn >= FEWEST_ROUNDS and took >= LIMIT_S:
                break
            if turn >= FEWEST_ROUNDS and took >= SPAN_S:
                waiting = [lane for lane in waiting if not lane.point().is_settled]
    return tuple(lane.point() for lane in lanes)


class _Lane:
    """What was seen of one batch size."""

    def __init__(self, run: Run, size: int) -> None:
        self._run, self._size = run, size
        self._walls: list[int] = []
        self._medians: list[float] = []
        self._chunk = self._warm_up()

    def _warm_up(self) -> int:
        """How many runs make a round."""
        least = math.inf
        for _ in range(WARM_UPS):
            start = time.monotonic()
            self._run(self._size)
            least = min(least, time.monotonic() - start)
            if least > SLOW_S:
                break
        return max(1, min(CHUNK_RUNS, int(CHUNK_S / max(least, 1e-9))))

    def add_round(self) -> None:
        walls, devices = zip(*(self._run(self._size) for _ in range(self._chunk)), strict=True)
        self._walls.extend(walls)
        # The median: one run that the machine interrupted must not become money.
        self._medians.extend(percentiles(devices, 50))

    def point(self) -> LatencyPoint:
        p50, p95, p99 = percentiles(self._walls, 50, 95, 99)
        (device,) = percentiles(self._medians, 50)
        low, high = median_interval(self._medians)
        return LatencyPoint(
            self._size,
            p50 / 1e9,
            p95 / 1e9,
            p99 / 1e9,
            device / 1e9,
            len(self._walls),
            low / 1e9,
            high / 1e9,
        )


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """The order statistics between which the true median lies as often as `confidence` says.

    Of n independent values the kth least and the kth greatest enclose it unless fewer than k fall
    on one side, each with chance 1/2 (David & Nagaraja, Order Statistics, 2003, section 7.1); the
    greatest such k is taken. Fewer than six values give their range, which covers less at 95 %.
    Medians of rounds are used, not runs: neighbouring runs share the machine's mood.
    """
    ordered, n = sorted(values), len(values)
    tail, k = 0.0, 0
    while k < n // 2 and tail + math.comb(n, k) / 2.0**n <= (1.0 - confidence) / 2:
        tail += math.comb(n, k) / 2.0**n
        k += 1
    place = max(k - 1, 0)
    return ordered[place], ordered[n - 1 - place]


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
