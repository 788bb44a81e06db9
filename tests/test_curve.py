"""Interpolation between measured batch sizes, and splitting past the largest."""

from __future__ import annotations

import pytest
from builders import profile
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.curve import Curve, curve
from model_repo.records import LatencyPoint, Profile

TIMES = st.lists(st.floats(1e-6, 1.0), min_size=3, max_size=3).map(sorted)


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    sizes = sorted(draw(st.sets(st.integers(1, 40), min_size=1, max_size=5)))
    points = [LatencyPoint(b, *draw(TIMES), draw(st.floats(1e-6, 1.0)), 10) for b in sizes]
    return profile(0.1, latency=tuple(points))


@given(profiles(), st.sampled_from([0.5, 0.95, 0.99]))
def test_measured_sizes_are_met_exactly(known: Profile, percentile: float) -> None:
    made = curve(known, percentile, True)
    for point in known.latency:
        wanted = {0.5: point.p50_s, 0.95: point.p95_s, 0.99: point.p99_s}[percentile]
        assert made.service_s[point.batch_size] == pytest.approx(wanted)
        assert made.device_s[point.batch_size] == pytest.approx(point.device_s)


@given(profiles(), st.floats(0.5, 0.99))
def test_every_size_lies_between_its_measured_neighbours(known: Profile, percentile: float) -> None:
    made = curve(known, percentile, True)
    assert len(made.service_s) == len(made.device_s) == made.largest + 1
    for low, high in zip(known.latency, known.latency[1:], strict=False):
        ends = sorted([made.service_s[low.batch_size], made.service_s[high.batch_size]])
        for size in range(low.batch_size, high.batch_size + 1):
            assert ends[0] - 1e-12 <= made.service_s[size] <= ends[1] + 1e-12


@given(profiles(), st.floats(0.5, 0.98))
def test_a_higher_percentile_is_never_faster(known: Profile, percentile: float) -> None:
    one, other = curve(known, percentile, True), curve(known, percentile + 0.01, True)
    assert all(a <= b + 1e-12 for a, b in zip(one.service_s, other.service_s, strict=True))


@given(profiles(), st.integers(0, 200))
def test_past_the_largest_batch_the_parts_add_up(known: Profile, items: int) -> None:
    made = curve(known, 0.99, True)
    parts = [made.largest] * (items // made.largest) + [items % made.largest]
    assert made.service(items) == pytest.approx(sum(made.service_s[p] for p in parts))
    assert made.device(items) == pytest.approx(sum(made.device_s[p] for p in parts))


def test_below_the_smallest_measured_size_the_smallest_stands() -> None:
    made = curve(profile(0.1, sizes=(4, 8)), 0.99, True)
    assert made.service_s[1] == made.service_s[4]


def test_a_model_that_does_not_batch_has_size_1() -> None:
    made = curve(profile(0.1), 0.99, False)
    assert made == Curve((0.0, 0.1), (0.0, 0.1), 1)
    assert made.service(3) == pytest.approx(0.3)
