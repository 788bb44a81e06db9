"""Rounds go on until the median is known, end when it cannot be, and bound it honestly."""

from __future__ import annotations

import gc
import time
from collections import Counter

import numpy as np
import pytest
import shelf
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from compilers.profiling import timing
from model_repo.records import SETTLED, LatencyPoint


def silent(_: str) -> None:
    """Nobody listens."""


class Fake:
    """A model whose batches take what `draw` says, on a clock that only it moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, spread: float, drift: float = 0.0) -> None:
        self.now_s, self.rng, self.runs = 0.0, np.random.default_rng(0), Counter[int]()
        self.spread, self.drift = spread, drift
        monkeypatch.setattr(timing.time, "monotonic", lambda: self.now_s)
        for name in ("CHUNK_RUNS", "SPAN_S", "LIMIT_S"):
            monkeypatch.setattr(timing, name, KEPT[name])

    def run(self, size: int) -> tuple[int, int]:
        self.runs[size] += 1
        device_s = size * 1e-3 * (1 + self.spread * self.rng.random() + self.drift * self.now_s)
        self.now_s += device_s + 1e-4
        return int((device_s + 1e-4) * 1e9), int(device_s * 1e9)


KEPT = {name: getattr(timing, name) for name in ("CHUNK_RUNS", "SPAN_S", "LIMIT_S")}


def test_a_quiet_machine_is_done_after_the_least_span(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(monkeypatch, spread=0.05)
    found = timing.points(fake.run, [1, 8], silent)
    assert timing.SPAN_S <= fake.now_s < timing.SPAN_S + 0.2
    assert [point.batch_size for point in found] == [1, 8]
    assert all(point.is_settled for point in found)
    for point in found:
        assert point.device_s == pytest.approx(point.batch_size * 1.025e-3, rel=0.01)
        assert point.device_low_s <= point.device_s <= point.device_high_s
        assert point.runs == fake.runs[point.batch_size] - timing.WARM_UPS


def test_what_does_not_settle_ends_at_the_limit_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = Fake(monkeypatch, spread=0.0, drift=0.5)
    found = timing.points(fake.run, [1, 8], silent)
    assert timing.LIMIT_S <= fake.now_s < timing.LIMIT_S + 0.5
    assert not any(point.is_settled for point in found)


def test_only_what_is_not_settled_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    calm, wild = Fake(monkeypatch, spread=0.0), np.random.default_rng(1)

    def run(size: int) -> tuple[int, int]:
        wall, device = calm.run(size)
        return wall, device * int(wild.integers(1, 9)) if size == 8 else device

    found = timing.points(run, [1, 8], silent)
    assert found[0].is_settled and found[0].runs < timing.CHUNK_RUNS * 60
    assert calm.now_s > timing.SPAN_S + 1


def test_a_slow_batch_is_run_a_few_times_only(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(monkeypatch, spread=0.0)
    found = timing.points(fake.run, [2000], silent)
    assert found[0].runs == timing.FEWEST_ROUNDS
    assert fake.runs[2000] == timing.FEWEST_ROUNDS + 1


@pytest.mark.parametrize(
    ("n", "place"), [(1, 0), (5, 0), (6, 0), (8, 0), (9, 1), (10, 1), (20, 5), (50, 17), (100, 39)]
)
def test_the_places_are_those_of_the_tables(n: int, place: int) -> None:
    values = list(range(n))
    assert timing.median_interval(values) == (values[place], values[n - 1 - place])


@given(st.integers(6, 60), st.integers(0, 2**16))
def test_the_interval_holds_the_median_of_the_values(n: int, seed: int) -> None:
    values = list(np.random.default_rng(seed).random(n))
    low, high = timing.median_interval(values)
    assert low <= np.median(values) <= high


@pytest.mark.parametrize("n", [6, 15, 40])
def test_the_interval_covers_the_true_median_as_often_as_it_says(n: int) -> None:
    rng, right = np.random.default_rng(0), 0
    for _ in range(2000):
        low, high = timing.median_interval(list(rng.exponential(size=n)))
        right += low <= np.log(2) <= high
    assert right / 2000 >= 0.945


def test_a_point_is_settled_by_its_interval() -> None:
    def point(low: float, high: float) -> LatencyPoint:
        return LatencyPoint(1, 1.0, 1.0, 1.0, 1.0, 9, low, high)

    assert point(0.0, 0.0).is_settled  # not known, as before intervals were kept
    assert point(1 - 0.9 * SETTLED, 1 + 0.9 * SETTLED).is_settled
    assert not point(1.0, 1 + 2.1 * SETTLED).is_settled


def test_a_profile_of_a_busy_host_is_not_settled() -> None:
    quiet = shelf.profile()
    assert quiet.is_settled
    assert not structs.replace(quiet, others_share=0.2).is_settled
    wide = structs.replace(quiet.latency[1], device_high_s=1.0)
    assert not structs.replace(quiet, latency=(quiet.latency[0], wide)).is_settled


def test_the_collector_is_off_while_timing_and_on_again_after() -> None:
    assert gc.isenabled()

    def run(_: int) -> tuple[int, int]:
        assert not gc.isenabled()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        timing.points(run, [1], silent)
    assert gc.isenabled() and time.monotonic() > 0
