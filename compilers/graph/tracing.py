"""Follow networks with torch in silence, and say in one sentence why that did not go."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

from compilers.quiet import hushed

_LINE = re.compile(r'File "([^"]+)", line (\d+), in \w+\n\s*(\S[^\n]*)')  # the user's own, last
_COLOUR = re.compile(r"\033\[\d*m")
_UNDECIDED = "GuardOnDataDependentSymNode"  # an `if` on numbers that only a run knows


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the graphs to itself that torch.export logs, and prints, before it raises."""
    with hushed("torch"), contextlib.redirect_stderr(io.StringIO()):
        yield


def refusal(error: Exception) -> str:
    """The first cause of what torch.export or torch.onnx.export raised, and the line it came from.

    torch wraps its errors in pages of advice, with escape codes for a terminal.
    """
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = _LINE.findall(str(cause))
    where = ""
    if lines:
        path, number, code = lines[-1]
        where = f" (line {number} of {Path(path).name}: {code.strip()})"
    if type(cause).__name__ == _UNDECIDED and lines:
        return f"its forward decides by what the data is{where}; take such decisions out of it"
    said = " ".join(_COLOUR.sub("", str(cause)).split())[:300] or "no reason given"
    return f"{type(cause).__name__}: {said}{where}"
