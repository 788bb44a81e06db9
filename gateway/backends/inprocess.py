"""Runs batches in threads of this process, one batch a thread."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
from msgspec import Struct

from gateway.core.stacking import Feed, cut, join, part
from model_repo.errors import BadInput
from model_repo.runtime import Session
from model_repo.tensors import Array

_HANGS_AFTER_S = 1.0


class Work(Struct, frozen=True):
    """A batch as the backend needs it; `rows` has one count for each feed."""

    session: Session
    feeds: Sequence[Feed]
    rows: Sequence[int]
    largest: int


class Result(Struct, frozen=True):
    """One outcome for each feed, and what the batch took."""

    outcomes: Sequence[dict[str, Array] | Exception]
    device_ns: int
    wall_s: float


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
        """End the threads once what was submitted is done; one that hangs ends with the process."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(_HANGS_AFTER_S)

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, done = job
            done(run(work))


def run(work: Work) -> Result:
    """Run a batch; when it is refused, run each request alone, so that one cannot spoil others."""
    start = time.monotonic()
    try:
        outputs, device_ns = _run_rows(work.session, join(work.feeds), sum(work.rows), work.largest)
        outcomes: list[dict[str, Array] | Exception] = list(part(outputs, work.rows))
    except BadInput as error:
        outcomes, device_ns = [error], 0
        if len(work.feeds) > 1:
            outcomes, device_ns = _run_each(work)
    except Exception as error:  # a defect in a runtime must answer its requests, not end a thread
        outcomes, device_ns = [error] * len(work.feeds), 0
    return Result(outcomes, device_ns, time.monotonic() - start)


def _run_each(work: Work) -> tuple[list[dict[str, Array] | Exception], int]:
    results = [
        run(Work(work.session, [feed], [rows], work.largest))
        for feed, rows in zip(work.feeds, work.rows, strict=True)
    ]
    return [r.outcomes[0] for r in results], sum(result.device_ns for result in results)


def _run_rows(
    session: Session, feed: Feed, rows: int, largest: int
) -> tuple[dict[str, Array], int]:
    pieces = [session.run(piece) for piece in cut(feed, rows, largest)]
    if len(pieces) == 1:
        return pieces[0]
    joined = {name: np.concatenate([out[name] for out, _ in pieces]) for name in pieces[0][0]}
    return joined, sum(device_ns for _, device_ns in pieces)
