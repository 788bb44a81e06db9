"""A compile says how it goes on a terminal, and what went wrong everywhere."""

from __future__ import annotations

import io
import sys

import pytest

from compilers.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_no_bar_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(2) as progress:
        progress.begin("cpu-int8")
        progress.say("quantizing")
        progress.end("cpu-int8 is done")
        progress.remark("cpu-int8-dynamic is not made")
    assert capsys.readouterr() == ("", "cpu-int8 is done\ncpu-int8-dynamic is not made\n")


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress(5) as progress:
        progress.skip(3)
        progress.begin("cpu-int8")
        progress.say("quantizing")
        progress.end("cpu-int8 is done")
    shown = terminal.getvalue()
    assert "3/5" in shown
    assert "cpu-int8: quantizing" in shown
    # The line stands alone: the bar is wiped before it.
    assert shown.partition("cpu-int8 is done\n")[0].endswith("\r")
