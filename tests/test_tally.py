"""Counts and histograms that a scrape reads."""

from __future__ import annotations

import math

import pytest
from builders import slo, variant
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.tally import SECONDS, Histogram, Mean, Tally
from model_repo.records import SLO

KEY = variant("ref").key
BOUND = st.none() | st.sampled_from([0.25, 0.5, 0.75])


@given(st.lists(st.floats(0.0, 20.0)))
def test_a_histogram_counts_every_value_under_its_bound(values: list[float]) -> None:
    histogram = Histogram(SECONDS)
    for value in values:
        histogram.observe(value)
    seen = 0
    for bound, count in zip([*SECONDS, math.inf], histogram.counts, strict=True):
        seen += count
        assert seen == sum(value <= bound for value in values)
    assert histogram.total == pytest.approx(sum(values))


def test_a_mean_begins_at_the_first_value_and_follows_slowly() -> None:
    mean = Mean()
    assert mean.value is None
    mean.observe(1.0)
    mean.observe(2.0)
    assert mean.value == 1.0 + 1 / 64


@given(BOUND, BOUND, BOUND, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_only_bounds_that_were_asked_for_are_counted_and_all_must_hold(
    latency: float | None, accuracy: float | None, usd: float | None,
    took: float, low: float, cost: float,
) -> None:  # fmt: skip
    tally = Tally()
    is_met = tally.met(SLO(latency, accuracy, usd), took, low, cost)
    held = {
        "latency": None if latency is None else took <= latency,
        "accuracy": None if accuracy is None else low >= accuracy,
        "cost": None if usd is None else cost <= usd,
    }
    assert tally.slos == {(name, ok): 1 for name, ok in held.items() if ok is not None}
    assert is_met == (False not in held.values())


def test_a_request_without_an_answer_met_nothing() -> None:
    tally = Tally()
    tally.missed(slo(0.1, 0.0, 5.0))
    assert tally.slos == {("latency", False): 1, ("accuracy", False): 1, ("cost", False): 1}


def test_a_refusal_is_counted_once_a_variant_under_the_first_bound_it_broke() -> None:
    tally = Tally()
    tally.refused(slo(0.1), [("a", "latency: 1 ms; cost: 2"), ("b", "cost: 3"), ("c", "cost: 4")])
    assert tally.refusals == {"latency": 1, "cost": 2}
    assert tally.slos == {("latency", False): 1}


def test_an_answer_is_counted_with_its_times() -> None:
    tally = Tally()
    tally.served(KEY, "cpu", "default", 0.001, 0.004, 0.002, 7)
    tally.batch(KEY, 3)
    assert tally.requests["toy", "1", "ref", "cpu", "default", "ok"] == 1
    assert tally.request_s["toy"].total == 0.004 and tally.queue_s["toy"].total == 0.001
    assert tally.forecast_ratio[KEY].value == 2.0
    assert tally.batch_sizes[KEY].counts[2] == 1
