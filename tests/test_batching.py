"""A variant's queue: earliest deadline first, like with like, nothing that would be late."""

from __future__ import annotations

import math

from builders import lane, pending, variant
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.batching import Lane, Pending

DEADLINES = st.one_of(st.just(math.inf), st.floats(0.0, 0.2))
REQUESTS = st.lists(
    st.tuples(st.integers(1, 12), DEADLINES, st.sampled_from([None, "a", "b"])), max_size=20
)


def filled(requests: list[tuple[int, float, str | None]]) -> tuple[Lane, list[Pending]]:
    queue = lane()
    made = [pending(items, due, merge_key=key) for items, due, key in requests]
    for each in made:
        queue.push(each)
    return queue, made


@given(REQUESTS)
def test_the_head_has_the_earliest_deadline(requests: list[tuple[int, float, str | None]]) -> None:
    queue, made = filled(requests)
    while len(queue):
        waiting = [each for each in made if each.queue is queue]
        assert queue.take(0.0)[0].due_s == min(each.due_s for each in waiting)


@given(REQUESTS)
def test_equal_deadlines_are_served_in_order_of_arrival(
    requests: list[tuple[int, float, str | None]],
) -> None:
    queue, made = filled([(items, math.inf, None) for items, _, _ in requests])
    assert [queue.take(0.0)[0] for _ in made] == made


@given(REQUESTS, st.floats(0.0, 0.1))
def test_a_batch_shares_one_key_and_never_outgrows_its_tightest_member(
    requests: list[tuple[int, float, str | None]], now_s: float
) -> None:
    queue, _ = filled(requests)
    while len(queue):
        batch = queue.take(now_s)
        keys = {each.merge_key for each in batch}
        assert len(keys) == 1 and (len(batch) == 1 or None not in keys)
        items = sum(each.items for each in batch)
        if len(batch) > 1:
            assert items <= queue.largest
            assert now_s + queue.service_s[items] <= min(each.deadline_s for each in batch)


@given(REQUESTS, st.floats(0.0, 0.1))
def test_taking_loses_nobody_and_serves_nobody_twice(
    requests: list[tuple[int, float, str | None]], now_s: float
) -> None:
    queue, made = filled(requests)
    seen: list[Pending] = []
    while len(queue):
        assert queue.queued_items == sum(each.items for each in made if each.queue is queue)
        seen += queue.take(now_s)
    assert len(seen) == len(made) and set(map(id, seen)) == set(map(id, made))
    assert queue.queued_items == 0 and all(each.queue is None for each in made)


@given(REQUESTS, st.floats(0.0, 0.3))
def test_late_heads_are_dropped_and_only_late_ones(
    requests: list[tuple[int, float, str | None]], now_s: float
) -> None:
    queue, _ = filled(requests)
    late = queue.drop_late(now_s)
    service = queue.offer.curve.service
    assert all(now_s + service(each.items) > each.deadline_s for each in late)
    if len(queue):
        head = queue.take(now_s)[0]
        assert now_s + service(head.items) <= head.deadline_s


@given(REQUESTS, st.data())
def test_one_that_leaves_is_gone_and_the_others_stay(
    requests: list[tuple[int, float, str | None]], data: st.DataObject
) -> None:
    queue, made = filled(requests)
    gone = data.draw(st.sets(st.sampled_from(made))) if made else set()
    for each in gone:
        queue.remove(each)
    assert queue.queued_items == sum(each.items for each in made if each not in gone)
    served = [each for _ in range(len(made)) if len(queue) for each in queue.take(0.0)]
    assert not gone & set(served) and len(served) == len(made) - len(gone)


def test_like_requests_run_together_and_one_too_large_runs_alone() -> None:
    queue = lane()
    big, one, two = pending(20, due_s=0.0), pending(3, due_s=1.0), pending(3, due_s=2.0)
    for each in (two, big, one):
        queue.push(each)
    assert queue.take(0.0) == [big]
    assert queue.take(0.0) == [one, two]


def test_a_member_in_a_hurry_keeps_the_batch_small() -> None:
    queue = lane(variant("ref", 0.01))
    hurried, calm = pending(1, 0.0101), pending(4)
    queue.push(calm)
    queue.push(hurried)
    assert queue.take(0.0) == [hurried]
    assert queue.take(0.0) == [calm]


def test_the_latest_start_is_the_heads() -> None:
    queue = lane(variant("ref", 0.01))
    assert queue.latest_start_s() == math.inf
    queue.push(pending(1, 0.5))
    queue.push(pending(1, 0.2))
    assert queue.latest_start_s() == 0.2 - 0.01
