"""The estimate of the gateway's own time follows what it sees, and forgets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.overhead import START_S, Overhead


@given(st.floats(0.0, 1.0))
def test_it_settles_on_what_it_always_sees(seconds: float) -> None:
    overhead = Overhead(0.0)
    for _ in range(300):
        overhead.observe(seconds)
    assert abs(overhead.estimate_s - seconds) < 1e-6


@given(st.lists(st.floats(0.0, 1.0), max_size=30))
def test_it_is_never_negative_and_never_under_its_least(seen: list[float]) -> None:
    overhead = Overhead(0.001)
    for seconds in seen:
        overhead.observe(seconds)
        assert 0.0 <= overhead.least_kept_back_s <= overhead.kept_back_s
        assert overhead.kept_back_s == overhead.estimate_s + 0.001


def test_a_spike_widens_it_and_is_forgotten() -> None:
    overhead = Overhead(0.0)
    overhead.observe(0.2)
    assert overhead.estimate_s == 0.2
    for _ in range(60):
        overhead.observe(START_S)
    assert overhead.estimate_s < 0.002


def test_leaning_back_ends_at_the_least_it_ever_was() -> None:
    overhead = Overhead(0.001)
    for seconds in (0.0001, 3.0, 0.5):
        overhead.observe(seconds)
    for _ in range(300):
        overhead.lean_back()
    assert abs(overhead.kept_back_s - overhead.least_kept_back_s) < 1e-6


def test_a_hiccup_that_delays_all_in_flight_keeps_back_no_more_than_it_took() -> None:
    overhead = Overhead(0.0)
    for _ in range(100):
        overhead.observe(0.002)
    for _ in range(16):
        overhead.observe(0.012)
        assert overhead.estimate_s <= 0.012
