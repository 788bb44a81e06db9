"""Batches in threads: joined, run, parted, and one bad request spoils no other."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest

from gateway.backends.inprocess import InProcess, Result, Work, run
from model_repo.errors import BadInput, Cancelled
from model_repo.tensors import Array


@dataclass
class Doubling:
    """Doubles x, refuses negative numbers, breaks on 99, and keeps what it was given."""

    sizes: list[int] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)

    def run(
        self, inputs: Mapping[str, Array], limit_s: float | None = None
    ) -> tuple[dict[str, Array], int]:
        x = inputs["x"]
        self.sizes.append(len(x))
        self.threads.add(threading.current_thread().name)
        if (x < 0).any():
            raise BadInput("negative")
        if (x == 99).any():
            raise ValueError("a defect")
        return {"y": x * 2}, len(x) * 10

    def close(self) -> None:
        """Nothing is held."""


def work(session: Doubling, *feeds: list[float], largest: int = 8) -> Work:
    return Work(session, [{"x": np.array(f)} for f in feeds], [len(f) for f in feeds], largest)


def values(result: Result) -> list[object]:
    return [o if isinstance(o, Exception) else o["y"].tolist() for o in result.outcomes]


def test_a_batch_runs_once_and_comes_apart() -> None:
    session = Doubling()
    result = run(work(session, [1, 2], [3]))
    assert values(result) == [[2, 4], [6]] and session.sizes == [3]
    assert result.device_ns == 30 and result.wall_s >= 0


def test_a_request_past_the_largest_batch_is_run_in_pieces() -> None:
    session = Doubling()
    result = run(work(session, [1, 2, 3, 4, 5], largest=2))
    assert values(result) == [[2, 4, 6, 8, 10]] and session.sizes == [2, 2, 1]
    assert result.device_ns == 50


def test_a_refused_batch_is_tried_one_by_one() -> None:
    result = run(work(Doubling(), [1], [-1], [3]))
    one, two, three = values(result)
    assert (one, three) == ([2], [6]) and isinstance(two, BadInput)
    assert result.device_ns > 20, "what the refused runs used is used all the same"


def test_the_rest_of_a_large_request_is_not_run_for_nobody() -> None:
    session = Doubling()
    large = work(session, [1, 2, 3, 4, 5, 6], largest=2)
    given_up = Work(large.session, large.feeds, large.rows, 2, lambda: len(session.sizes) >= 2)
    (outcome,) = run(given_up).outcomes
    assert isinstance(outcome, Cancelled) and session.sizes == [2, 2]


def test_a_defect_answers_every_request_and_ends_no_thread() -> None:
    backend, results, seen = InProcess(1), list[Result](), threading.Semaphore(0)

    def done(result: Result) -> None:
        results.append(result)
        seen.release()

    for numbers in ([99.0], [1.0]):
        backend.submit(work(Doubling(), numbers, numbers), done)
    for _ in range(2):
        assert seen.acquire(timeout=60)
    backend.close()
    assert [type(o) for o in results[0].outcomes] == [ValueError, ValueError]
    assert values(results[1]) == [[2.0], [2.0]]


@pytest.mark.parametrize("threads", [1, 3])
def test_what_was_submitted_runs_though_the_backend_is_closed(threads: int) -> None:
    backend, session, seen = InProcess(threads), Doubling(), threading.Semaphore(0)
    for _ in range(20):
        backend.submit(work(session, [1.0]), lambda _: seen.release())
    backend.close()
    assert all(seen.acquire(timeout=60) for _ in range(20))
    assert all(name.startswith("farebox-run-") for name in session.threads)
