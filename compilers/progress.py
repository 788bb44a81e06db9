"""Tell the user how a compile goes: a bar on a terminal only, what is done in a log as well."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any


class Progress:
    """One bar over all variants, on standard error; nothing is shown before the first `say`."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._bar: Any = None
        self._prefix = ""

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def skip(self, count: int) -> None:
        """`count` variants are done already."""
        self._done += count

    def begin(self, name: str) -> None:
        """What follows concerns the variant `name`."""
        self._prefix = f"{name}: "

    def say(self, text: str) -> None:
        """Show what is going on now, in place of what was shown before."""
        if self._bar is None:
            from tqdm import tqdm

            # None: tqdm shows nothing unless standard error is a terminal.
            self._bar = tqdm(
                total=self._total,
                initial=self._done,
                disable=None,
                leave=False,
                bar_format="|{bar:20}| {n_fmt}/{total_fmt} [{elapsed}] {desc}",
            )
        self._bar.set_description_str(self._prefix + text)

    def end(self, line: str = "") -> None:
        """One variant is done, well or not; `line` stays, on a terminal or in a log."""
        self._done += 1
        if self._bar is not None:
            self._bar.update()
        if line:
            self.remark(line)

    def remark(self, text: str) -> None:
        """Say a line that stays, such as why something failed, terminal or not."""
        if self._bar is not None:
            self._bar.clear()
        print(text, file=sys.stderr, flush=True)
