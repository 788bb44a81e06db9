"""One state machine, events in and actions out: it queues, batches, sheds and charges.

Events: arrive, tick, done, cancel. Actions: Start a batch, Shed a request, Answer one.
It holds no clock and no loop, so the gateway and a simulator can drive the same one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from msgspec import Struct

from gateway.core import routing
from gateway.core.admission import Admission
from gateway.core.batching import Lane, Passed, Pending, Stages
from gateway.core.books import HOST, Books
from gateway.core.catalog import Entry, Identity
from gateway.core.charging import Bill
from gateway.core.forecast import candidates
from gateway.core.ledger import split
from gateway.core.overhead import Overhead
from gateway.core.pool import Batch, Pool
from gateway.core.replica import Replica, pick
from gateway.core.request import Facts
from gateway.core.routing import Desk, Policy, Refused, Route
from gateway.core.tally import Tally
from model_repo.errors import Expired, FareboxError, Unavailable
from model_repo.records import VariantKey


class Start(Struct, frozen=True):
    """Run this batch."""

    batch: Batch


class Shed(Struct, frozen=True):
    """Answer this request with an error."""

    pending: Pending
    error: FareboxError


class Answer(Struct, frozen=True):
    """This request is done."""

    pending: Pending
    facts: Facts


class Scheduler:
    """Routes and queues requests over this host: as many batches at once as it has CPUs.

    margin_s is kept back from every latency bound, besides the gateway's own overhead, which its
    shell observes.
    """

    def __init__(
        self, books: Books, admission: Admission, margin_s: float, report_only: bool
    ) -> None:
        self.books = books
        self.admission, self.report_only = admission, report_only
        self.pool = Pool(books[HOST].devices)
        self.tally = Tally()
        self.overhead = Overhead(margin_s)
        self._desks: dict[tuple[str, str], Desk] = {}
        self._lanes: dict[Identity, Lane] = {}
        self._served: dict[Identity, Lane | Stages] = {}
        self._batches = 0

    def adopt(
        self,
        entries: Sequence[Entry],
        replicas: Mapping[VariantKey, list[Replica]],
        policies: Mapping[str, Policy],
    ) -> None:
        """Route over a new catalog; `policies` by model name.

        The queue of an artifact that stays is kept; what is queued for one that went away still
        runs, on the replica it was queued for. A request to a cascade goes on to the second stage
        it began with.
        """
        offers = [(entry, offer) for entry in entries for offer in entry.offers]
        lanes: dict[Identity, Lane] = {}
        for offer in (offer for _, offer in offers if not offer.cascade):
            lane = self._lanes.get(offer.identity)
            if lane is None:  # an empty lane is false, but it may have batches that run
                lane = Lane(offer, replicas[offer.key])
            lane.reprice(offer)
            lanes[offer.identity] = lane
        self._lanes, self._served = lanes, {**lanes}
        for entry, offer in offers:
            if offer.cascade:
                names = offer.cascade.first, offer.cascade.second
                first, second = (lanes[entry.offer(name).identity] for name in names)
                self._served[offer.identity] = Stages(offer, offer.cascade, first, second)
        self._desks = {
            (entry.model.name, entry.model.version): routing.desk(
                entry, self._served, policies[entry.model.name]
            )
            for entry in entries
        }

    def arrive(
        self, entry: Entry, pending: Pending, variant: str, now_s: float, draw: float
    ) -> Route:
        """Route a request and queue it; in report-only mode on the reference, whatever was chosen.

        variant: a pin, or "". Raises NotFound, Infeasible or Unavailable; then nothing is queued.
        """
        try:
            self.admission.check()
        except Unavailable:
            self.tally.missed(pending.slo)
            raise
        desk = self._desks[entry.model.name, entry.model.version]
        chosen: Route | Refused
        if variant:
            pinned = self._served[entry.offer(variant).identity]
            chosen = routing.pin(pinned, pending, self.pool, self.overhead, now_s)
        else:
            chosen = routing.route(desk, pending, self.pool, self.overhead, now_s, draw)
        if isinstance(chosen, Refused):
            self.tally.refused(pending.slo, chosen.reasons)
            if self.pool.is_idle() and isinstance(chosen.error, Unavailable):
                self.overhead.lean_back()
            raise chosen.error
        self.admission.enter()
        pending.chosen, pending.routed = chosen.candidate, chosen.lane.offer
        pending.forecast_s = chosen.candidate.latency_s
        lane = chosen.lane
        if self.report_only and not variant:
            lane = desk.reference
            (served,) = candidates([lane], pending.items, self.pool.waits([lane], now_s))
            pending.forecast_s = served.latency_s
        lane.push(pending)
        self.pool.enter(pending)
        return chosen

    def tick(self, now_s: float) -> list[Start | Shed]:
        """Drop what is too late, then start batches while a device and a replica are free."""
        actions: list[Start | Shed] = []
        busy = self.pool.busy
        for lane in list(busy.values()):
            actions += self._shed_late(lane, now_s)
        while busy and self.pool.has_room():
            ready = [x for x in busy.values() if any(map(Replica.has_room, x.replicas))]
            if not ready:
                break
            lane = min(ready, key=Lane.latest_start_s) if len(ready) > 1 else ready[0]
            actions.append(Start(self._start(lane, now_s)))
            if len(lane):
                actions += self._shed_late(lane, now_s)  # whoever stood behind that batch
        return actions

    def _shed_late(self, lane: Lane, now_s: float) -> list[Shed]:
        late = lane.drop_late(now_s)
        if not late:
            return []
        for pending in late:
            self.admission.leave()
            self.tally.missed(pending.slo)
        if not len(lane):
            self.pool.busy.pop(id(lane), None)
        return [Shed(pending, Expired(_too_late(pending))) for pending in late]

    def _start(self, lane: Lane, now_s: float) -> Batch:
        replica = pick(lane.replicas)
        assert replica is not None, "a lane is started only when one of its replicas has room"
        pendings = lane.take(now_s)
        if not len(lane):
            del self.pool.busy[id(lane)]
        items = sum(pending.items for pending in pendings)
        self._batches += 1
        expected = now_s + lane.offer.curve.service(items)
        batch = Batch(self._batches, lane, replica, pendings, items, now_s, expected)
        replica.in_flight += 1
        self.pool.running[batch.id] = batch
        self.books[lane.offer.device].hold(batch.id, round(now_s * 1e9))
        return batch

    def done(
        self,
        batch: Batch,
        now_s: float,
        device_ns: int,
        failed: Collection[int] = (),
        unsure: Mapping[int, int] = MappingProxyType({}),
    ) -> list[Answer]:
        """A batch ended: free its device, charge its requests, and say how each was served.

        failed: places in the batch whose request got an error. unsure: places whose request goes
        on to the second stage of its cascade instead of being answered, with as many of its rows.
        """
        del self.pool.running[batch.id]
        batch.replica.in_flight -= 1
        ledger = self.books[batch.lane.offer.device]
        used = ledger.release(batch.id, round(now_s * 1e9), device_ns)
        shares = split(used, [pending.items for pending in batch.pendings])
        key = batch.lane.key
        self.tally.batch(key, batch.items)
        desk = self._desks.get((key.model, key.version))
        reference = desk.reference.offer if desk else batch.lane.offer
        bill = Bill(self.books, batch, reference, self.report_only)
        answers = []
        for place, (pending, share) in enumerate(zip(batch.pendings, shares, strict=True)):
            is_judged = place not in failed and not pending.is_given_up and not pending.passed
            if pending.stages and is_judged:
                self.tally.judged(pending.stages.key, pending.items, unsure.get(place, 0))
            if place in unsure:
                self._go_on(pending, unsure[place], bill.pass_on(pending, share, now_s))
                continue
            self.admission.leave()
            facts = bill.settle(pending, share, place not in failed, self.overhead.estimate_s)
            answers.append(Answer(pending, facts))
        return answers

    def _go_on(self, pending: Pending, rows: int, passed: Passed) -> None:
        assert pending.stages and not pending.is_given_up, "somebody waits for a cascade's answer"
        pending.stages.go_on(pending, rows, passed)
        self.pool.enter(pending)

    def cancel(self, pending: Pending, is_late: bool = False) -> None:
        """The client went away, or its deadline passed: leave the queue if still in it.

        What already runs is charged to its caller when its batch ends.
        """
        lane = pending.queue
        pending.is_given_up = True
        if is_late:
            self.tally.missed(pending.slo)
        if lane is not None:
            lane.remove(pending)
            self.admission.leave()
            if not len(lane):
                self.pool.busy.pop(id(lane), None)


def _too_late(pending: Pending) -> str:
    if pending.passed:
        return "the deadline would pass before the second stage of its cascade could answer"
    return "the deadline would pass before an answer: dropped before it ran"
