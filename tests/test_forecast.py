"""Latency and cost of a request on each variant: profile, queue and price."""

from __future__ import annotations

import pytest
from builders import USD_PER_DEVICE_S, lane, pending, variant
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import forecast


@given(st.integers(1, 30), st.lists(st.integers(1, 4), max_size=4), st.floats(0.0, 1.0))
def test_a_request_joins_what_is_queued(items: int, queue: list[int], wait_s: float) -> None:
    made = lane(variant("ref", 0.02))
    for count in queue:
        made.push(pending(count))
    (found,) = forecast.candidates([made], items, [wait_s])
    together = sum(queue) + items
    assert found.latency_s == pytest.approx(wait_s + made.offer.curve.service(together))
    if together <= made.largest:
        share = items / together * made.offer.curve.device(together) * USD_PER_DEVICE_S
        assert found.cost_usd == pytest.approx(share) and found.batch == together
    else:
        assert found.cost_usd == pytest.approx(made.offer.curve.device(items) * USD_PER_DEVICE_S)
    assert found.load == sum(queue) and found.accuracy_low == 0.9


def test_company_makes_a_request_cheaper_and_slower() -> None:
    made = lane(variant("ref", 0.02))
    (alone,) = forecast.candidates([made], 1, None)
    made.push(pending(3))
    (joined,) = forecast.candidates([made], 1, None)
    assert joined.cost_usd < alone.cost_usd and joined.latency_s > alone.latency_s


@given(st.integers(1, 30))
def test_idle_is_the_forecast_without_queue_or_wait(items: int) -> None:
    made = lane(variant("ref", 0.02))
    (fresh,) = forecast.candidates([made], items, None)
    made.push(pending(7))
    (idle,) = forecast.idle([made], items)
    assert idle.latency_s == pytest.approx(fresh.latency_s)
    assert idle.cost_usd == pytest.approx(fresh.cost_usd)
    assert (idle.load, idle.batch) == (0, items)


def test_candidates_keep_the_order_and_the_keys_of_the_lanes() -> None:
    lanes = [lane(variant(name)) for name in ("ref", "a", "b")]
    found = forecast.candidates(lanes, 1, [0.1, 0.2, 0.3])
    assert [c.key for c in found] == [each.key for each in lanes]
    assert [c.latency_s for c in found] == [
        pytest.approx(0.11),
        pytest.approx(0.21),
        pytest.approx(0.31),
    ]
