"""The clock and the progress of a search: what is tried, what was found, the time that is left."""

from __future__ import annotations

import sys
import time
from typing import Any

from compilers.search.budget import spell


class OutOfTime(Exception):
    """The budget is spent; what was going on is dropped, what had ended stays."""


class Watch:
    """Counts wall time from its making, and shows one bar on a terminal."""

    def __init__(self, budget_s: float) -> None:
        self._start, self._budget_s = time.monotonic(), budget_s
        self._limit_s = budget_s
        self._bar: Any = None
        self.state = ""
        """What stands before all that is said: trials and front so far."""

    @property
    def spent_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def lift(self) -> None:
        """Let what is still to be done take its time."""
        self._limit_s = float("inf")

    def is_over(self) -> bool:
        """Whether the budget is spent."""
        return self.spent_s >= self._limit_s

    def say(self, text: str) -> None:
        """Show what is going on; raises OutOfTime once the budget is spent.

        Passes say something every epoch, so that none runs on for long.
        """
        if self.is_over():
            raise OutOfTime
        self.show(text)

    def show(self, text: str) -> None:
        """Show what is going on, whatever the time."""
        if self._bar is None:
            from tqdm import tqdm

            # None: tqdm shows nothing unless standard error is a terminal.
            self._bar = tqdm(
                total=round(self._budget_s, 1),
                disable=None,
                leave=False,
                bar_format="|{bar:20}| {desc}",
            )
        left = spell(self._budget_s - self.spent_s)
        self._bar.n = min(round(self.spent_s, 1), self._bar.total or 0)
        self._bar.set_description_str(f"{self.state}, {left} left: {text}")

    def remark(self, text: str) -> None:
        """Say what stays on the screen, terminal or not."""
        if self._bar is not None:
            self._bar.clear()
        print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Wipe the bar."""
        if self._bar is not None:
            self._bar.close()
