"""The intervals cover what they promise, and the percentiles never cross."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compilers.profiling.stats import binomial_interval, mean_interval, percentiles

counts = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts)
def test_the_binomial_interval_holds_the_share_and_ends_at_zero_and_one(
    count: tuple[int, int],
) -> None:
    right, total = count
    low, high = binomial_interval(right, total)
    assert 0.0 <= low <= right / total <= high <= 1.0
    assert (low == 0.0) == (right == 0)
    assert (high == 1.0) == (right == total)


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [(0, 10, 0.0, 0.30850), (10, 10, 0.69150, 1.0), (436, 450, 0.94835, 0.98289)],
)
def test_the_binomial_interval_is_the_tabled_one(
    right: int, total: int, low: float, high: float
) -> None:
    assert binomial_interval(right, total) == pytest.approx((low, high), abs=1e-5)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9, 0.97])
@pytest.mark.parametrize("total", [5, 40, 300])
def test_the_binomial_interval_covers_at_least_as_often_as_it_says(
    share: float, total: int
) -> None:
    """Summed exactly over every outcome, so no chance is involved."""
    covered = sum(
        math.comb(total, right) * share**right * (1 - share) ** (total - right)
        for right in range(total + 1)
        if binomial_interval(right, total)[0] <= share <= binomial_interval(right, total)[1]
    )
    assert covered >= 0.95


@given(counts)
def test_more_samples_of_the_same_share_narrow_the_interval(count: tuple[int, int]) -> None:
    right, total = count
    low, high = binomial_interval(right, total)
    narrow_low, narrow_high = binomial_interval(4 * right, 4 * total)
    assert narrow_low >= low - 1e-12 and narrow_high <= high + 1e-12


@given(st.floats(-1, 1), st.integers(1, 10_000))
def test_the_mean_interval_holds_the_mean_and_stays_in_range(mean: float, total: int) -> None:
    low, high = mean_interval(mean, total, -1.0, 1.0)
    assert -1.0 <= low <= mean + 1e-9 and mean - 1e-9 <= high <= 1.0


@given(counts)
def test_the_mean_interval_of_yes_and_no_is_never_narrower_than_the_exact_one(
    count: tuple[int, int],
) -> None:
    right, total = count
    exact, bounded = binomial_interval(right, total), mean_interval(right / total, total, 0.0, 1.0)
    assert bounded[0] <= exact[0] + 1e-9 and exact[1] <= bounded[1] + 1e-9


def test_the_mean_interval_covers_skewed_cosines() -> None:
    rng = np.random.default_rng(7)
    truth, covered = 2 * 8 / 9 - 1, 0
    for _ in range(400):
        mean = float((2 * rng.beta(8, 1, size=30) - 1).mean())
        low, high = mean_interval(mean, 30, -1.0, 1.0)
        covered += low <= truth <= high
    assert covered >= 0.95 * 400


def test_without_samples_the_mean_may_be_anything() -> None:
    assert mean_interval(0.0, 0, -1.0, 1.0) == (-1.0, 1.0)


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300))
def test_percentiles_are_values_that_were_seen_in_order(values: list[float]) -> None:
    p50, p95, p99 = percentiles(values, 50, 95, 99)
    assert p50 <= p95 <= p99
    assert {p50, p95, p99} <= set(values)
    assert sum(value <= p99 for value in values) >= 0.99 * len(values)
