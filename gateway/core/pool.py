"""The devices all in-process variants share: what runs on them, and how long a newcomer waits."""

from __future__ import annotations

from msgspec import Struct

from gateway.core.batching import Lane, Pending
from gateway.core.replica import Replica


class Batch(Struct, eq=False):
    """Requests for one variant that run together on one replica."""

    id: int
    lane: Lane
    replica: Replica
    pendings: list[Pending]
    items: int
    started_s: float
    expected_end_s: float


class Pool:
    """`devices` batches run at once; `busy` are the lanes with something queued."""

    def __init__(self, devices: int) -> None:
        self.devices = devices
        self.running: dict[int, Batch] = {}
        self.busy: dict[int, Lane] = {}

    def has_room(self) -> bool:
        """Whether a batch could start now."""
        return len(self.running) < self.devices

    def is_idle(self) -> bool:
        """Whether nothing is queued or running."""
        return not self.busy and not self.running

    def enter(self, pending: Pending) -> None:
        """A request was queued."""
        assert pending.queue is not None, "it is queued"
        self.busy[id(pending.queue)] = pending.queue

    def replicas(self) -> set[str]:
        """Of all that runs or is queued, and of the second stages it may still go on to."""
        running = [pending for batch in self.running.values() for pending in batch.pendings]
        queued = [pending for lane in self.busy.values() for pending in lane]
        ahead = {id(p.stages): p.stages for p in (*running, *queued) if p.stages and not p.passed}
        lanes = [*self.busy.values(), *(stages.second for stages in ahead.values())]
        used = {replica.id for lane in lanes for replica in lane.replicas}
        return used | {batch.replica.id for batch in self.running.values()}

    def waits(self, lanes: list[Lane] | tuple[Lane, ...], now_s: float) -> list[float] | None:
        """For each lane, seconds until a device is free of what others run and have queued.

        None when a device is free at once. The work ahead is what is left of the running batches
        plus the queues of the other lanes, shared by all devices.
        """
        occupied = len(self.running) + len(self.busy)
        if occupied < self.devices:
            return None
        ahead = 0.0
        for lane in self.busy.values():
            ahead += lane.backlog_s
        for batch in self.running.values():
            ahead += max(0.0, batch.expected_end_s - now_s)
        shared = ahead / self.devices
        if occupied > self.devices:
            return [shared - lane.backlog_s / self.devices for lane in lanes]
        # One lane fewer leaves a device free: a lane that is busy itself waits for nobody.
        return [0.0 if lane.backlog_s else shared for lane in lanes]
