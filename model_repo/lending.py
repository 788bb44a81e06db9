"""Lends things that one thread at a time may use, the last one given back first."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Generic, TypeVar

from model_repo.errors import Expired

Thing = TypeVar("Thing")


class Lending(Generic[Thing]):
    """Whoever finds nothing waits. What was used last has its data in the caches still.

    Where something is free no lock is taken, as both ends of a list are safe between threads:
    queue.LifoQueue takes a large part of the time of a small model's run.
    """

    def __init__(self, things: Iterable[Thing]) -> None:
        self._free = list(things)
        self._given = threading.Condition()
        self._waiting = 0

    def take(self, limit_s: float | None = None) -> Thing:
        """One that is free; raises Expired once it has waited for `limit_s` seconds."""
        found = self._pop() or self._wait(limit_s)
        if not found:
            raise Expired(f"all {limit_s} s went by in waiting for the runs before")
        return found[0]

    def give(self, thing: Thing) -> None:
        """Lend it to another."""
        self._free.append(thing)
        if self._waiting:
            with self._given:
                self._given.notify()

    def _pop(self) -> tuple[Thing, ...]:
        try:
            return (self._free.pop(),)
        except IndexError:
            return ()

    def _wait(self, limit_s: float | None) -> tuple[Thing, ...]:
        with self._given:
            # Counted before it looks again, so that whoever gives from now on wakes this thread.
            self._waiting += 1
            try:
                return self._given.wait_for(self._pop, limit_s)
            finally:
                self._waiting -= 1
