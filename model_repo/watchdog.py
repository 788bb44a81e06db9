"""Call back whatever takes longer than its limit, from one thread for the whole process."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Watchdog:
    """Watches many blocks of code at once; its thread starts with the first.

    A timer thread for each block would cost more than a small model's run.
    """

    def __init__(self) -> None:
        self._watched: dict[object, tuple[float, Callable[[], None]]] = {}
        self._changed = threading.Condition()
        self._wakes_at = math.inf
        self._thread: threading.Thread | None = None

    @contextmanager
    def limit(self, limit_s: float, end: Callable[[], None]) -> Iterator[None]:
        """Call `end`, from another thread, once the block has taken `limit_s` seconds."""
        token, due = object(), time.monotonic() + limit_s
        with self._changed:
            self._watched[token] = (due, end)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
                self._thread.start()
            if due < self._wakes_at:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._watched.pop(token, None)

    def _watch(self) -> None:
        while True:
            for end in self._wait():
                end()

    def _wait(self) -> list[Callable[[], None]]:
        """Sleep until something is due; the thread wakes seldom, as most blocks end in time."""
        with self._changed:
            self._wakes_at = min((due for due, _ in self._watched.values()), default=math.inf)
            idle = self._wakes_at == math.inf
            self._changed.wait(None if idle else max(0.0, self._wakes_at - time.monotonic()))
            now = time.monotonic()
            late = [token for token, (due, _) in self._watched.items() if due <= now]
            return [self._watched.pop(token)[1] for token in late]


WATCHDOG = Watchdog()
