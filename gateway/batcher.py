"""Drives the pure scheduler from the event loop: carries out its actions, tells it what ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from gateway.backends.inprocess import InProcess, Result, Work, run
from gateway.cascading import Judged, Waiting, go_on, judge
from gateway.core.batching import Pending
from gateway.core.pool import Batch
from gateway.core.request import Facts
from gateway.core.scheduler import Scheduler, Shed, Start
from gateway.core.statistics import Took
from model_repo.runtime import Session
from model_repo.tensors import Array

_STRETCHED = 2.0


class Served(Struct, frozen=True):
    """What a request's future resolves to."""

    outputs: dict[str, Array]
    facts: Facts
    wall_s: float


class Batcher:
    """Ticks once for all requests read in one turn of the loop, so that they can share a batch."""

    def __init__(self, scheduler: Scheduler, backend: InProcess, inline_s: float) -> None:
        self._scheduler = scheduler
        self._backend = backend
        self._inline_s = inline_s
        self._loop = asyncio.get_running_loop()
        self._is_due = False
        self._sessions: dict[str, Session] = {}
        self._wanted: Mapping[str, Session] = {}
        self._stretch: dict[str, float] = {}

    def adopt(self, sessions: Mapping[str, Session]) -> None:
        """Serve with these; those that went away are closed once nothing waits for them."""
        self._wanted = sessions
        self._sessions.update(sessions)
        self._close_unused()

    def _close_unused(self) -> None:
        used = self._scheduler.pool.replicas()
        for identity in self._sessions.keys() - self._wanted.keys() - used:
            self._sessions.pop(identity).close()
            self._stretch.pop(identity, None)

    def wake(self) -> None:
        """Something changed: tick before the loop waits again."""
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._tick)

    def _tick(self) -> None:
        self._is_due = False
        while self._carry_out(self._scheduler.tick(time.monotonic())) and self._scheduler.pool.busy:
            pass

    def _carry_out(self, actions: Sequence[Start | Shed]) -> bool:
        """Whether a batch ended meanwhile, so that the scheduler has more to say."""
        has_ended = False
        for action in actions:
            if isinstance(action, Shed):
                _fail(action.pending, action.error)
            elif self._is_short(action.batch):
                # Waking a thread takes about 100 us of CPU: more than such a batch does.
                result = run(self._work(action.batch))
                self._resolve(action.batch, result, judge(action.batch.pendings, result.outcomes))
                has_ended = True
            else:
                self._backend.submit(self._work(action.batch), self._done(action.batch))
        return has_ended

    def _is_short(self, batch: Batch) -> bool:
        return (
            batch.expected_end_s - batch.started_s <= self._inline_s
            and batch.lane.offer.is_fixed_size
            and not batch.lane.offer.stands_in
            and self._stretch.get(batch.replica.id, 0.0) <= _STRETCHED
        )

    def _observe(self, batch: Batch, result: Result) -> None:
        """Count it, and keep a mean of how many times `inline_s` the batches really took
        that should be shorter.

        One that took seconds moves its variant to a thread for some hundred batches; the odd
        millisecond that the machine was doing something else does not.
        """
        output_s = result.wall_s - result.input_s - result.infer_s
        self._scheduler.tally.statistics.of(batch.lane.key).batch(
            batch.items,
            len(batch.pendings),
            Took(round(result.input_s * 1e9), round(result.infer_s * 1e9), round(output_s * 1e9)),
        )
        if batch.expected_end_s - batch.started_s <= self._inline_s:
            mean = self._stretch.get(batch.replica.id, 0.0)
            times = result.device_ns / max(self._inline_s * 1e9, 1.0)
            self._stretch[batch.replica.id] = mean + (times - mean) / 64

    def _work(self, batch: Batch) -> Work:
        return Work(
            self._sessions[batch.replica.id],
            [pending.payload.feed for pending in batch.pendings],
            [pending.items for pending in batch.pendings],
            batch.lane.largest,
            lambda: all(pending.is_given_up for pending in batch.pendings),
        )

    def _done(self, batch: Batch) -> Callable[[Result], None]:
        def done(result: Result) -> None:
            judged = judge(batch.pendings, result.outcomes)
            self._loop.call_soon_threadsafe(self._ended, batch, result, judged)

        return done

    def _ended(self, batch: Batch, result: Result, judged: Judged) -> None:
        self._resolve(batch, result, judged)
        if len(self._sessions) > len(self._wanted):
            self._close_unused()
        self._tick()

    def _resolve(self, batch: Batch, result: Result, judged: Judged) -> None:
        self._observe(batch, result)
        outcomes, pendings = judged.outcomes, batch.pendings
        failed = {i for i, each in enumerate(outcomes) if isinstance(each, Exception)}
        # Whoever left since then needs no second stage.
        on = {i: rows for i, rows in judged.unsure.items() if not pendings[i].is_given_up}
        counts = {place: len(rows) for place, rows in on.items()}
        answers = self._scheduler.done(batch, time.monotonic(), result.device_ns, failed, counts)
        for place, rows in on.items():
            go_on(pendings[place], outcomes[place], rows, result.wall_s)
        ended = (each for place, each in enumerate(outcomes) if place not in on)
        for answer, outcome in zip(answers, ended, strict=True):
            waiting: Waiting = answer.pending.payload
            if waiting.future.done():  # the client went away or its deadline passed while it ran
                continue
            if isinstance(outcome, Exception):
                waiting.future.set_exception(outcome)
            else:
                wall_s = result.wall_s + waiting.wall_s
                waiting.future.set_result(Served(outcome, answer.facts, wall_s))


def _fail(pending: Pending, error: Exception) -> None:
    if not pending.payload.future.done():
        pending.payload.future.set_exception(error)
