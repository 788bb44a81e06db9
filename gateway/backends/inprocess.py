"""Runs batches in threads of this process, one batch a thread."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
from msgspec import Struct

from gateway.core.stacking import Feed, cut, join, part
from model_repo.errors import BadInput, Cancelled
from model_repo.runtime import Session
from model_repo.tensors import Array


class Work(Struct, frozen=True):
    """A batch as the backend needs it; `rows` has one count for each feed.

    is_given_up: asked between the pieces of a large batch, whether nobody waits for it any more.
    """

    session: Session
    feeds: Sequence[Feed]
    rows: Sequence[int]
    largest: int
    is_given_up: Callable[[], bool] = lambda: False


class Result(Struct, frozen=True):
    """One outcome for each feed, and what the batch took.

    infer_s: of wall_s, what the runtime took; input_s: what came before it.
    """

    outcomes: Sequence[dict[str, Array] | Exception]
    device_ns: int
    wall_s: float
    input_s: float = 0.0
    infer_s: float = 0.0


class InProcess:
    """`threads` workers; `done` is called from a worker's thread."""

    def __init__(self, threads: int) -> None:
        self._jobs: queue.SimpleQueue[tuple[Work, Callable[[Result], None]] | None] = (
            queue.SimpleQueue()
        )
        self._threads = [
            threading.Thread(target=self._serve, name=f"farebox-run-{i}", daemon=True)
            for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Work, done: Callable[[Result], None]) -> None:
        """Run `work` as soon as a thread is free."""
        self._jobs.put((work, done))

    def close(self) -> None:
        """End the threads; what still runs by then is in nobody's interest and ends with us."""
        for _ in self._threads:
            self._jobs.put(None)

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, done = job
            done(run(work))


def run(work: Work) -> Result:
    """Run a batch; when it is refused, run each request alone, so that one cannot spoil others."""
    start = joined_s = time.monotonic()
    ran_s = 0.0
    try:
        feed = join(work.feeds)
        joined_s = time.monotonic()
        outputs, device_ns = _run_rows(work, feed)
        ran_s = time.monotonic()
        outcomes: list[dict[str, Array] | Exception] = list(part(outputs, work.rows))
    except BadInput as error:
        outcomes, device_ns = [error], _wall_ns(start)
        if len(work.feeds) > 1:
            outcomes, alone_ns = _run_each(work)
            device_ns += alone_ns
    except Exception as error:  # a defect in a runtime must answer its requests, not end a thread
        outcomes = [error] * len(work.feeds)
        device_ns = _wall_ns(start)
    end = time.monotonic()
    return Result(outcomes, device_ns, end - start, joined_s - start, (ran_s or end) - joined_s)


def _wall_ns(start: float) -> int:
    # A failed run says nothing of its device time; asking the kernel before each run for the
    # thread's own would cost every good one some 10 us.
    return round((time.monotonic() - start) * 1e9)


def _run_each(work: Work) -> tuple[list[dict[str, Array] | Exception], int]:
    results = [
        run(Work(work.session, [feed], [rows], work.largest, work.is_given_up))
        for feed, rows in zip(work.feeds, work.rows, strict=True)
    ]
    return [r.outcomes[0] for r in results], sum(result.device_ns for result in results)


def _run_rows(work: Work, feed: Feed) -> tuple[dict[str, Array], int]:
    pieces: list[tuple[dict[str, Array], int]] = []
    for piece in cut(feed, sum(work.rows), work.largest):
        if pieces and work.is_given_up():
            raise Cancelled("nobody waits for the rest of this request")
        pieces.append(work.session.run(piece))
    if len(pieces) == 1:
        return pieces[0]
    joined = {name: np.concatenate([out[name] for out, _ in pieces]) for name in pieces[0][0]}
    return joined, sum(device_ns for _, device_ns in pieces)
