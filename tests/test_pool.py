"""How long a newcomer waits for a device of the shared pool."""

from __future__ import annotations

import pytest
from builders import lane, pending, variant
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.batching import Lane
from gateway.core.pool import Batch, Pool


def run(pool: Pool, queue: Lane, end_s: float) -> None:
    number = len(pool.running)
    pool.running[number] = Batch(number, queue, queue.replicas[0], [], 1, 0.0, end_s)


def queued(pool: Pool, queue: Lane, *items: int) -> Lane:
    for count in items:
        queue.push(pending(count))
    pool.busy[id(queue)] = queue
    return queue


def test_nobody_waits_while_a_device_is_free() -> None:
    pool, queue = Pool(2), lane()
    run(pool, queue, 5.0)
    assert pool.waits([queue], 0.0) is None and pool.has_room() and not pool.is_idle()


def test_what_runs_is_waited_for() -> None:
    pool, queue = Pool(2), lane()
    run(pool, queue, 3.0)
    run(pool, queue, 1.0)
    assert not pool.has_room()
    assert pool.waits([queue, lane()], 0.5) == [pytest.approx((2.5 + 0.5) / 2)] * 2


def test_a_batch_that_overruns_is_expected_at_once() -> None:
    pool, queue = Pool(1), lane()
    run(pool, queue, 1.0)
    assert pool.waits([queue], 9.0) == [0.0]


def test_a_lane_does_not_wait_for_its_own_queue_but_others_do() -> None:
    pool = Pool(1)
    mine, other = queued(pool, lane(variant("ref", 0.1)), 1), lane(variant("low", 0.1))
    assert pool.waits([mine, other], 0.0) == [0.0, pytest.approx(0.1)]


def test_of_a_full_pool_a_lane_waits_for_all_but_its_own_queue() -> None:
    pool, mine, other = Pool(2), lane(variant("ref", 0.1)), lane(variant("low", 0.1))
    for end in (1.0, 3.0):
        run(pool, other, end)
    queued(pool, mine, 1)
    running, backlog = 4.0 / 2, 0.1 / 2
    assert pool.waits([mine, other], 0.0) == [
        pytest.approx(running),
        pytest.approx(running + backlog),
    ]


@given(
    st.integers(1, 4),
    st.lists(st.floats(0.0, 5.0), max_size=4),
    st.lists(st.lists(st.integers(1, 9), max_size=3), min_size=1, max_size=4),
    st.floats(0.0, 5.0),
)
def test_waits_are_never_negative_nor_longer_than_all_the_work(
    devices: int, ends: list[float], queues: list[list[int]], now_s: float
) -> None:
    pool, lanes = Pool(devices), [lane(variant("ref", 0.1)) for _ in queues]
    for end in ends:
        run(pool, lanes[0], end)
    for queue, items in zip(lanes, queues, strict=True):
        if items:
            queued(pool, queue, *items)
    work = sum(queue.offer.curve.service(queue.queued_items) for queue in lanes)
    work += sum(max(0.0, end - now_s) for end in ends)
    waits = pool.waits(lanes, now_s) or [0.0] * len(lanes)
    assert all(-1e-9 <= wait <= work / devices + 1e-9 for wait in waits)


def test_an_empty_pool_is_idle() -> None:
    assert Pool(1).is_idle() and Pool(1).has_room()
