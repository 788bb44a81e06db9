"""The queue of one variant, or two of a cascade: earliest deadline first, what runs together."""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable, Iterator
from typing import Any

from msgspec import Struct

from gateway.core.catalog import Offer
from gateway.core.replica import Replica
from model_repo.records import SLO, Candidate, Cascade


class Passed(Struct, frozen=True):
    """What the first stage of a cascade did for a request that goes on to the second.

    reference_ns, routed_ns: what all its rows would have used on those variants, to be booked once
    it is answered. queue_s: how long it waited. ended_s: when that stage's batch ended.
    """

    usd: float
    reference_ns: int
    routed_ns: int
    queue_s: float
    ended_s: float


class Pending(Struct, eq=False):
    """A request on its way: queued, then in a batch, then answered.

    items: rows; for a cascade's second stage, those that went on. merge_key: only requests with
    equal keys share a batch; None shares with nobody. deadline_s: past it the answer is worthless.
    due_s: the deadline, or sooner the bound of patience, for the order only. payload: the shell's
    own. forecast_s: wait and service on the variant that serves it. is_given_up: nobody waits for
    it. stages: the cascade that serves it. room_s: seconds that must be left when the batch it is
    in has ended. passed: what its first stage did, once it goes on.
    """

    sequence: int
    items: int
    merge_key: Hashable
    slo: SLO
    arrived_s: float
    deadline_s: float
    due_s: float
    tenant: str
    payload: Any = None
    chosen: Candidate | None = None
    routed: Offer | None = None
    forecast_s: float = 0.0
    queue: Lane | None = None
    is_given_up: bool = False
    stages: Stages | None = None
    room_s: float = 0.0
    passed: Passed | None = None

    @property
    def leave_s(self) -> float:
        """By when the batch it is in must have ended."""
        return self.deadline_s - self.room_s


class Lane:
    """One variant's queue, its forecast tables, and the replicas that serve it."""

    def __init__(self, offer: Offer, replicas: list[Replica]) -> None:
        self.replicas = replicas
        self.queued_items = 0
        self.backlog_s = 0.0
        self._heap: list[tuple[float, int, Pending]] = []
        self.reprice(offer)

    def reprice(self, offer: Offer) -> None:
        """Take over a new profile or price for the same artifact."""
        curve = offer.curve
        self.offer = offer
        self.key = offer.key
        self.accuracy_low = offer.variant.profile.accuracy_low
        self.largest = curve.largest
        self.service_s = curve.service_s
        self.usd_per_item = tuple(
            device_s * offer.usd_per_device_s / max(size, 1)
            for size, device_s in enumerate(curve.device_s)
        )
        self._count(0)

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[Pending]:
        return (entry[2] for entry in self._heap)

    def push(self, pending: Pending) -> None:
        """Add a request."""
        pending.queue = self
        self._count(pending.items)
        heapq.heappush(self._heap, (pending.due_s - pending.room_s, pending.sequence, pending))

    def remove(self, pending: Pending) -> None:
        """Take a queued request out: its client went away or its deadline passed."""
        pending.queue = None
        self._count(-pending.items)
        self._heap = [entry for entry in self._heap if entry[2] is not pending]
        heapq.heapify(self._heap)

    def drop_late(self, now_s: float) -> list[Pending]:
        """Take out, from the head, what would be late even if it ran alone now."""
        late: list[Pending] = []
        while self._heap:
            head = self._heap[0][2]
            if head.deadline_s == math.inf or now_s + self._alone_s(head) <= head.leave_s:
                break
            late.append(self._pop())
        return late

    def latest_start_s(self) -> float:
        """When the head must start, alone, to be done when due; infinite when empty."""
        if not self._heap:
            return math.inf
        head = self._heap[0][2]
        return head.due_s - head.room_s - self._alone_s(head)

    def take(self, now_s: float) -> list[Pending]:
        """The next batch: the head, and what shares its key while the tightest member can bear it.

        A request larger than the largest measured batch runs alone.
        """
        batch = [self._pop()]
        items, key, tightest = batch[0].items, batch[0].merge_key, batch[0].leave_s
        passed: list[Pending] = []
        while self._heap and items < self.largest and key is not None:
            pending = self._pop()
            together = items + pending.items
            tight = min(tightest, pending.leave_s)
            if pending.merge_key != key:
                passed.append(pending)
            elif together > self.largest or now_s + self.service_s[together] > tight:
                passed.append(pending)
                break
            else:
                batch.append(pending)
                items, tightest = together, tight
        for pending in passed:
            self.push(pending)
        return batch

    def _alone_s(self, pending: Pending) -> float:
        return self.offer.curve.service(pending.items)

    def _pop(self) -> Pending:
        pending = heapq.heappop(self._heap)[2]
        pending.queue = None
        self._count(-pending.items)
        return pending

    def _count(self, change: int) -> None:
        queued = self.queued_items = self.queued_items + change
        is_tabled = queued <= self.largest
        self.backlog_s = self.service_s[queued] if is_tabled else self.offer.curve.service(queued)


class Stages:
    """A cascade: its requests queue with everyone else's for its first stage, then its second."""

    def __init__(self, offer: Offer, cascade: Cascade, first: Lane, second: Lane) -> None:
        self.offer, self.cascade, self.first, self.second = offer, cascade, first, second
        self.key = offer.key
        self.accuracy_low = offer.variant.profile.accuracy_low

    def push(self, pending: Pending) -> None:
        """Queue for the first stage, with room for the second, should every row go on."""
        pending.stages = self
        pending.room_s = self.second.offer.curve.service(pending.items)
        self.first.push(pending)

    def go_on(self, pending: Pending, rows: int, passed: Passed) -> None:
        """Queue `rows` of the request for the second stage."""
        pending.items, pending.room_s, pending.passed = rows, 0.0, passed
        self.second.push(pending)
