"""The state machine both the gateway and a simulator drive: whatever happens, it adds up."""

from __future__ import annotations

import math
from typing import Any

import pytest
from builders import adopt, cascade, entry, offer, pending, scheduler, slo, variant
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core.batching import Pending
from gateway.core.catalog import Entry
from gateway.core.pool import Batch
from gateway.core.request import Facts
from gateway.core.scheduler import Scheduler, Shed, Start
from model_repo.errors import Expired, FareboxError, Unavailable

KNOWN = {"ref": (0.1, 0.95), "mid": (0.03, 0.9), "low": (0.01, 0.8)}
DEVICES, SLOTS, DOOR = 2, 1, 12


def catalog(names: list[str], price: float = 0.001) -> Entry:
    """Of those variants; "cas" is a cascade of low and ref."""
    made = [
        offer(variant(name, *KNOWN[name]), usd_per_device_s=price)
        if name != "cas"
        else offer(variant("cas", 0.03, 0.94), True, price, cascade("low", "ref"))
        for name in names
    ]
    return entry(*made)


class Life(RuleBasedStateMachine):
    """Requests arrive, wait, run, leave and expire, while catalogs come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.entry = catalog(["ref", "mid", "low", "cas"])
        self.made = scheduler(self.entry, devices=DEVICES, max_in_flight=DOOR, slots=SLOTS)
        self.queued: dict[int, Pending] = {}
        self.running: dict[int, Batch] = {}
        self.ended: dict[int, str] = {}
        self.asked = {"latency": 0, "accuracy": 0}
        self.usd = 0.0

    def end(self, each: Pending, how: str) -> None:
        assert each.sequence not in self.ended, "a request ends exactly once"
        self.ended[each.sequence] = how
        if how in ("shed", "left") and each.passed:
            self.usd += each.passed.usd  # it paid for its first stage

    @rule(passed=st.floats(0.0, 0.2))
    def wait(self, passed: float) -> None:
        self.now += passed

    @rule(
        items=st.integers(1, 12),
        timeout=st.floats(0.001, 0.5) | st.just(math.inf),
        latency=st.none() | st.floats(0.001, 0.5),
        accuracy=st.none() | st.sampled_from([0.8, 0.9, 0.99]),
        pin=st.sampled_from(["", "", "cas", "ref", "low"]),
        key=st.sampled_from([None, "a", "b"]),
    )
    def arrive(
        self, items: int, timeout: float, latency: float | None, accuracy: float | None,
        pin: str, key: str | None,
    ) -> None:  # fmt: skip
        names = [each.key.variant for each in self.entry.offers]
        deadline = self.now + min(timeout, latency or math.inf)
        each = pending(
            items, deadline, merge_key=key, slo=slo(latency, accuracy), arrived_s=self.now,
            due_s=min(deadline, self.now + 1.0),
        )  # fmt: skip
        before = self.made.admission.in_flight
        try:
            self.made.arrive(self.entry, each, pin if pin in names else "", self.now, 0.5)
        except FareboxError as error:
            assert each.queue is None and self.made.admission.in_flight == before
            is_full = isinstance(error, Unavailable) and "max_in_flight" in str(error)
            assert is_full == (before == DOOR)
            self.end(each, "refused")
        else:
            self.queued[each.sequence] = each
        self.asked["latency"] += latency is not None
        self.asked["accuracy"] += accuracy is not None

    @rule()
    def tick(self) -> None:
        for action in self.made.tick(self.now):
            if isinstance(action, Shed):
                each = self.queued.pop(action.pending.sequence)
                assert isinstance(action.error, Expired)
                self.end(each, "shed")
                continue
            batch = action.batch
            self.running[batch.id] = batch
            for each in batch.pendings:
                del self.queued[each.sequence]
                service = batch.lane.offer.curve.service(each.items)
                if each.stages and not each.passed:
                    service += each.stages.second.offer.curve.service(each.items)
                assert self.now + service <= each.deadline_s, "what is late is dropped, not run"
        room = len(self.running) < DEVICES
        assert not (room and any(self.free(each) for each in self.queued.values())), (
            "nothing waits while a device and a replica are free"
        )

    def free(self, each: Pending) -> bool:
        return each.queue is not None and any(r.has_room() for r in each.queue.replicas)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), used=st.integers(0, 10**9))
    def done(self, data: Any, used: int) -> None:
        batch = self.running.pop(data.draw(st.sampled_from(sorted(self.running))))
        failed = data.draw(st.sets(st.integers(0, len(batch.pendings) - 1), max_size=1))
        unsure = {
            place: data.draw(st.integers(1, each.items))
            for place, each in enumerate(batch.pendings)
            if each.stages and not each.passed and not each.is_given_up and place not in failed
            if data.draw(st.booleans())
        }
        answers = self.made.done(batch, self.now, used, failed, unsure)
        for place, rows in unsure.items():
            each = batch.pendings[place]
            assert each.items == rows and each.queue is each.stages.second
            self.queued[each.sequence] = each
        assert [answer.pending for answer in answers] == [
            each for place, each in enumerate(batch.pendings) if place not in unsure
        ]
        for answer in answers:
            assert answer.facts.cost_usd >= 0 and answer.facts.batch_size == batch.items
            each = answer.pending
            assert answer.facts.key == (each.stages or batch.lane).key
            assert (answer.facts.escalated is None) == (each.stages is None)
            if each.passed:
                assert answer.facts.escalated == each.items
            self.usd += answer.facts.cost_usd
            if self.ended.get(answer.pending.sequence) != "left while it ran":
                self.answer(answer.pending, answer.facts)

    def answer(self, each: Pending, facts: Facts) -> None:
        """As the shell does: it judges the SLO when the answer is there."""
        took = self.now - each.arrived_s
        self.made.tally.met(each.slo, took, facts.accuracy_low, facts.cost_usd)
        self.end(each, "answered")

    @precondition(lambda self: self.queued)
    @rule(data=st.data(), is_late=st.booleans())
    def leave_the_queue(self, data: Any, is_late: bool) -> None:
        each = self.queued.pop(data.draw(st.sampled_from(sorted(self.queued))))
        self.made.cancel(each, is_late)
        self.end(each, "left")
        self.forget(each, is_late)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), is_late=st.booleans())
    def leave_while_it_runs(self, data: Any, is_late: bool) -> None:
        batch = self.running[data.draw(st.sampled_from(sorted(self.running)))]
        each = data.draw(st.sampled_from(batch.pendings))
        if each.sequence not in self.ended:
            self.made.cancel(each, is_late)
            self.end(each, "left while it ran")
            self.forget(each, is_late)

    def forget(self, each: Pending, is_late: bool) -> None:
        if not is_late:  # nobody waits for it, so no bound of it was met or missed
            self.asked["latency"] -= each.slo.latency_s is not None
            self.asked["accuracy"] -= each.slo.min_accuracy is not None

    @rule(
        names=st.sampled_from([["ref"], ["ref", "low", "cas"], ["ref", "mid", "low"]]),
        price=st.sampled_from([0.001, 0.002]),
    )
    def adopt(self, names: list[str], price: float) -> None:
        self.entry = catalog(names, price)
        adopt(self.made, self.entry, slots=SLOTS)
        assert all(each.queue is not None for each in self.queued.values())

    @invariant()
    def adds_up(self) -> None:
        running = [each for batch in self.running.values() for each in batch.pendings]
        assert self.made.admission.in_flight == len(self.queued) + len(running) <= DOOR
        assert len(self.running) <= DEVICES, "devices are never over-subscribed"
        assert self.made.pool.running == self.running
        busy = {id(each.queue) for each in self.queued.values()}
        assert self.made.pool.busy.keys() == busy
        for batch in self.running.values():
            assert 0 < batch.replica.in_flight <= batch.replica.slots

    @invariant()
    def the_ledger_adds_up(self) -> None:
        ledger, now = self.made.books["cpu"], round(self.now * 1e9)
        idle = ledger.idle_ns(now)
        assert idle >= 0
        assert ledger.attributed_ns + idle + ledger.held_ns(now) == ledger.provisioned_ns(now)

    def teardown(self) -> None:
        """Let everything end: nothing may be left over."""
        for _ in range(100):
            self.tick()
            if not self.running:
                break
            for batch in list(self.running.values()):
                self.now = max(self.now, batch.expected_end_s)
                for answer in self.made.done(self.running.pop(batch.id), self.now, 1000):
                    self.usd += answer.facts.cost_usd
                    if answer.pending.sequence not in self.ended:
                        self.answer(answer.pending, answer.facts)
        assert not self.queued and not self.running
        assert self.made.admission.in_flight == 0 and self.made.pool.is_idle()
        assert self.usd == pytest.approx(
            self.made.books["cpu"].usd(self.made.books["cpu"].attributed_ns)
        )
        for name, count in self.asked.items():
            counted = sum(n for (bound, _), n in self.made.tally.slos.items() if bound == name)
            assert counted == count, "each bound asked for is counted exactly once"


Life.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
test_every_request_ends_exactly_once = Life.TestCase


def starts(made: Scheduler, now_s: float) -> list[Batch]:
    return [action.batch for action in made.tick(now_s) if isinstance(action, Start)]


def test_requests_of_one_turn_share_a_batch_and_its_cost() -> None:
    found = catalog(["ref"])
    made = scheduler(found)
    each = [pending(items) for items in (1, 2, 3)]
    for one in each:
        made.arrive(found, one, "", 0.0, 0.5)
    (batch,) = starts(made, 0.01)
    assert batch.pendings == each and batch.items == 6
    answers = made.done(batch, 0.2, 6_000_001)
    costs = [answer.facts.cost_usd for answer in answers]
    assert sum(costs) == pytest.approx(made.books["cpu"].usd(6_000_001))
    assert costs[2] == pytest.approx(3 * costs[0], rel=1e-6)
    assert [answer.facts.queue_s for answer in answers] == [0.01] * 3
    assert made.books["cpu"].attributed_ns == 6_000_001


def test_what_stands_behind_a_batch_and_is_late_does_not_run() -> None:
    found = catalog(["ref"])
    made = scheduler(found)
    first, late = pending(1, due_s=0.0, merge_key="a"), pending(8, 0.2, merge_key="b")
    for one in (first, late):
        made.arrive(found, one, "ref", 0.0, 0.5)
    started, shed = made.tick(0.0)
    assert isinstance(started, Start) and started.batch.pendings == [first]
    assert isinstance(shed, Shed) and shed.pending is late


def test_the_most_urgent_queue_goes_first() -> None:
    found = catalog(["ref", "low"])
    made = scheduler(found, devices=1)
    calm, urgent = pending(1, 9.0), pending(1, 0.5)
    made.arrive(found, calm, "low", 0.0, 0.5)
    made.arrive(found, urgent, "ref", 0.0, 0.5)
    (batch,) = starts(made, 0.0)
    assert batch.pendings == [urgent] and starts(made, 0.0) == []


def test_report_only_serves_the_reference_and_meters_the_route() -> None:
    found = catalog(["ref", "low"])
    made = scheduler(found, report_only=True, is_best_effort=True)
    route = made.arrive(found, pending(), "", 0.0, 0.5)
    assert route.candidate.key.variant == "low"
    (batch,) = starts(made, 0.0)
    assert batch.lane.key.variant == "ref"
    (answer,) = made.done(batch, 0.2, 100_000_000)
    dollars = made.books["cpu"].dollars(made.books["cpu"].accounts()[0])
    assert answer.facts.key.variant == "ref" and dollars.usage == pytest.approx(1e-4)
    assert dollars.routed == pytest.approx(1e-5) and dollars.reference == pytest.approx(1e-4)


def test_report_only_leaves_a_pin_alone() -> None:
    found = catalog(["ref", "low"])
    made = scheduler(found, report_only=True, is_best_effort=True)
    made.arrive(found, pending(), "low", 0.0, 0.5)
    assert starts(made, 0.0)[0].lane.key.variant == "low"


def test_the_counterfactual_is_the_reference_at_the_same_batch_size() -> None:
    found = catalog(["ref", "low"])
    made = scheduler(found)
    for _ in range(4):
        made.arrive(found, pending(), "", 0.0, 0.5)
    (batch,) = starts(made, 0.0)
    made.done(batch, 1.0, 1000)
    (key,) = made.books["cpu"].accounts()
    reference = found.reference.curve.device(4)
    assert made.books["cpu"].dollars(key).reference == pytest.approx(reference * 0.001, rel=1e-6)


def test_an_artifact_that_went_away_finishes_its_queue_on_its_own_replica() -> None:
    before = catalog(["ref", "low"])
    made = scheduler(before)
    each = pending()
    made.arrive(before, each, "low", 0.0, 0.5)
    adopt(made, catalog(["ref"]))
    (batch,) = starts(made, 0.0)
    assert batch.pendings == [each] and batch.replica.key.variant == "low"
    (answer,) = made.done(batch, 0.1, 1000)
    assert answer.facts.key.variant == "low"


def test_a_running_queue_is_kept_over_a_reload() -> None:
    found = catalog(["ref"])
    made = scheduler(found, slots=1)
    made.arrive(found, pending(), "", 0.0, 0.5)
    (batch,) = starts(made, 0.0)
    adopt(made, found, slots=1)
    made.arrive(found, pending(), "", 0.0, 0.5)
    assert starts(made, 0.0) == [], "its only slot is still taken"
    made.done(batch, 0.1, 1)
    assert len(starts(made, 0.1)) == 1


def test_a_new_price_reaches_the_queue_that_stays() -> None:
    made = scheduler(catalog(["ref"]))
    adopt(made, catalog(["ref"], price=0.5))
    route = made.arrive(catalog(["ref"], price=0.5), pending(), "", 0.0, 0.5)
    assert route.candidate.cost_usd == pytest.approx(0.1 * 0.5)


@given(st.booleans())
def test_a_caller_that_left_meets_no_bound_and_one_that_was_late_misses_it(is_late: bool) -> None:
    found = catalog(["ref"])
    made = scheduler(found)
    each = pending(slo=slo(5.0))
    made.arrive(found, each, "", 0.0, 0.5)
    (batch,) = starts(made, 0.0)
    made.cancel(each, is_late)
    made.done(batch, 0.1, 1000)
    assert made.tally.slos == ({("latency", False): 1} if is_late else {})
    assert made.books["cpu"].attributed_ns == 1000, "what ran is charged all the same"


def test_a_request_that_failed_pays_for_its_time_and_saves_nothing() -> None:
    found = catalog(["ref"])
    made = scheduler(found)
    each = [pending(), pending()]
    for one in each:
        made.arrive(found, one, "", 0.0, 0.5)
    (batch,) = starts(made, 0.0)
    made.done(batch, 0.1, 2000, failed={1})
    (account,) = made.books["cpu"].accounts()
    usd = made.books["cpu"].dollars(account)
    alone = made.books["cpu"].usd(round(batch.lane.offer.curve.device(2) / 2 * 1e9))
    assert made.books["cpu"].attributed_ns == 2000
    assert usd.reference == pytest.approx(alone), "one of the two"
    assert usd.routed == pytest.approx(made.books["cpu"].usd(1000))


def test_a_full_door_is_a_missed_slo() -> None:
    found = catalog(["ref"])
    made = scheduler(found, max_in_flight=1)
    made.arrive(found, pending(), "", 0.0, 0.5)
    with pytest.raises(Unavailable):
        made.arrive(found, pending(slo=slo(5.0)), "", 0.0, 0.5)
    assert made.tally.slos == {("latency", False): 1}


def test_in_report_only_mode_the_forecast_is_of_what_serves() -> None:
    found = catalog(["ref", "low"])
    made = scheduler(found, report_only=True)
    route = made.arrive(found, each := pending(), "", 0.0, 0.5)
    assert route.candidate.key.variant == "low"
    (batch,) = starts(made, 0.0)
    assert batch.lane.key.variant == "ref"
    assert each.forecast_s == batch.lane.service_s[1] > route.candidate.latency_s
