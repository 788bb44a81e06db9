"""Follow networks with torch in silence, and say in one sentence why that did not go."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compilers.quiet import hushed

_LINE = re.compile(r'File "([^"]+)", line (\d+), in \w+\n\s*(\S[^\n]*)')  # the user's own, last
_CAUSED = re.compile(r"Caused by: \(([^:()]+):(\d+) in \w+\)")
# What torch.onnx, and what torchax, says of an operator that it has no words for.
_OPERATOR = re.compile(r"^(?:No ONNX function found for <OpOverload\(op=')?(aten\.\w+)")
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
    where = _line(str(cause))
    if type(cause).__name__ == _UNDECIDED and where:
        return f"its forward decides by what the data is ({where}); take such decisions out of it"
    said = " ".join(_COLOUR.sub("", str(cause)).split())[:300] or "no reason given"
    return f"{type(cause).__name__}: {said}" + (f" ({where})" if where else "")


def _line(text: str) -> str:
    """The last line of the user's own code that a text of torch's names, or ""."""
    if lines := _LINE.findall(text):
        path, number, code = lines[-1]
        return f"line {number} of {Path(path).name}: {code.strip()}"
    if found := _CAUSED.search(text):
        return f"line {found[2]} of {Path(found[1]).name}"
    return ""


def operator_of(error: BaseException) -> str:
    """The operator of torch's that an exporter has no words for, such as aten.linalg_qr, or ""."""
    cause: BaseException | None = error
    while cause is not None:
        if found := _OPERATOR.search(str(cause)):
            return found[1]
        cause = cause.__cause__
    return ""


def place_of(operator: str, program: Any) -> str:
    """ " in the layer ..." that calls an operator in an exported program, with its line, or ""."""
    for node in program.graph.nodes:
        if str(node.target).startswith(operator):
            stack = node.meta.get("nn_module_stack") or {"": ("", None)}
            layer = list(stack.values())[-1][0].removeprefix("L['self'].")
            line = _line(str(node.meta.get("stack_trace", "")))
            named = f"the layer {layer!r}" if layer else "the network itself"
            return f" in {named}" + (f" ({line})" if line else "")
    return ""
