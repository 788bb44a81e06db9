"""Between the stages of a cascade: judges what the first answered, and joins the second's to it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from gateway.core import cascade
from gateway.core.batching import Pending
from gateway.core.stacking import Feed
from model_repo.tensors import Array

Outcome = dict[str, Array] | Exception


class Held(Struct, frozen=True):
    """What the first stage answered, and which of its rows went on."""

    outputs: dict[str, Array]
    rows: Array


class Waiting(Struct, frozen=True):
    """A pending request's payload: who waits, for what, and what is there already.

    wall_s: what batches took that it was in before.
    """

    future: asyncio.Future[Any]
    feed: Feed
    held: Held | None = None
    wall_s: float = 0.0


class Judged(Struct, frozen=True):
    """Outcomes of a batch's requests; `unsure` are the rows that go on, by place in the batch."""

    outcomes: Sequence[Outcome]
    unsure: Mapping[int, Array]


def judge(pendings: Sequence[Pending], outcomes: Sequence[Outcome]) -> Judged:
    """Find the unsure rows of first stages, and complete the answers of second ones.

    It reads nothing that the loop changes while a batch runs, so that any thread may call it.
    """
    if not any(pending.stages for pending in pendings):
        return Judged(outcomes, {})
    judged, unsure = list(outcomes), {}
    for place, (pending, outcome) in enumerate(zip(pendings, outcomes, strict=True)):
        if pending.stages is None or isinstance(outcome, Exception):
            continue
        held: Held | None = pending.payload.held
        try:
            if held is not None:
                judged[place] = cascade.merge(held.outputs, held.rows, outcome)
            elif len(rows := cascade.unsure(pending.stages.cascade, outcome)):
                unsure[place] = rows
        except Exception as error:  # a defect in a runtime must answer its requests, as in a run
            judged[place] = error
    return Judged(judged, unsure)


def go_on(pending: Pending, outputs: Outcome, rows: Array, wall_s: float) -> None:
    """Keep what the first stage answered, and leave the second only the rows that go on."""
    assert not isinstance(outputs, Exception), "what failed does not go on"
    waiting: Waiting = pending.payload
    feed = cascade.pick(waiting.feed, rows)
    pending.payload = Waiting(waiting.future, feed, Held(outputs, rows), wall_s)
