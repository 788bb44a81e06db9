"""Drives the pure scheduler from the event loop: carries out its actions, tells it what ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from msgspec import Struct

from gateway.backends.inprocess import InProcess, Result, Work
from gateway.core.batching import Pending
from gateway.core.pool import Batch
from gateway.core.request import Facts
from gateway.core.scheduler import Scheduler, Start
from gateway.core.stacking import Feed
from model_repo.runtime import Session
from model_repo.tensors import Array


class Served(Struct, frozen=True):
    """What a request's future resolves to."""

    outputs: dict[str, Array]
    facts: Facts
    wall_s: float


class Waiting(Struct, frozen=True):
    """A pending request's payload: who waits, and for what."""

    future: asyncio.Future[Served]
    feed: Feed


class Batcher:
    """Ticks once for all requests read in one turn of the loop, so that they can share a batch."""

    def __init__(self, scheduler: Scheduler, backend: InProcess) -> None:
        self._scheduler = scheduler
        self._backend = backend
        self._loop = asyncio.get_running_loop()
        self._is_due = False
        self._sessions: dict[str, Session] = {}
        self._wanted: Mapping[str, Session] = {}

    def adopt(self, sessions: Mapping[str, Session]) -> None:
        """Serve with these; those that went away are closed once nothing waits for them."""
        self._wanted = sessions
        self._sessions.update(sessions)
        self._close_unused()

    def _close_unused(self) -> None:
        pool = self._scheduler.pool
        used = {batch.replica.id for batch in pool.running.values()}
        used |= {replica.id for lane in pool.busy.values() for replica in lane.replicas}
        for identity in self._sessions.keys() - self._wanted.keys() - used:
            self._sessions.pop(identity).close()

    def wake(self) -> None:
        """Something changed: tick before the loop waits again."""
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._tick)

    def _tick(self) -> None:
        self._is_due = False
        for action in self._scheduler.tick(time.monotonic()):
            if isinstance(action, Start):
                self._start(action.batch)
            else:
                _fail(action.pending, action.error)

    def _start(self, batch: Batch) -> None:
        work = Work(
            self._sessions[batch.replica.id],
            [pending.payload.feed for pending in batch.pendings],
            [pending.items for pending in batch.pendings],
            batch.lane.largest,
        )

        def done(result: Result) -> None:
            self._loop.call_soon_threadsafe(self._ended, batch, result)

        self._backend.submit(work, done)

    def _ended(self, batch: Batch, result: Result) -> None:
        answers = self._scheduler.done(batch, time.monotonic(), result.device_ns)
        for answer, outcome in zip(answers, result.outcomes, strict=True):
            future = answer.pending.payload.future
            if future.done():  # the client went away or its deadline passed while it ran
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(Served(outcome, answer.facts, result.wall_s))
        if len(self._sessions) > len(self._wanted):
            self._close_unused()
        self._tick()


def _fail(pending: Pending, error: Exception) -> None:
    if not pending.payload.future.done():
        pending.payload.future.set_exception(error)
