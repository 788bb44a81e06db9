"""Prove that rows answered together are answered as they are alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from compilers.foreign.signature import Port
from model_repo.errors import BadInput, Expired
from model_repo.tensors import Array

Call = Mapping[str, Array]
Run = Callable[[Call], Call]

# Of the largest value: other batch sizes add up in another order; 16-bit floats round more.
TOLERANCES = {"FP64": 1e-6, "FP32": 1e-4, "FP16": 1e-2, "BF16": 5e-2}

ROUNDING = 0.1
"""Of the largest value: what other kernels may make of a row, if they do so in any company."""
APART = "rows answered together differ from rows answered alone"


def obstacle(inputs: Sequence[Port], outputs: Sequence[Port]) -> str | None:
    """Why axis 0 cannot be a batch axis by what the file declares; None if it may be one."""
    for port in (*inputs, *outputs):
        if port.axes is None:
            continue  # only running it shows the rank
        if not port.axes:
            return f"{port.name!r} is a scalar, which belongs to the whole request"
        if isinstance(port.axes[0], int):
            return f"axis 0 of {port.name!r} is fixed at {port.axes[0]}"
    named = {port.axes[0] for port in inputs if port.axes}
    for port in inputs:
        for place, axis in enumerate((port.axes or ())[1:], 1):
            if isinstance(axis, str) and axis in named:
                return f"axis {place} of {port.name!r} is called {axis!r} like an axis 0"
    return None


def difference(run: Run, pairs: Iterable[tuple[Call, Call]], outputs: Sequence[Port]) -> str | None:
    """Why running [a; b] is not like running a, then b; None if it is for every pair."""
    return next((why for a, b in pairs if (why := _difference(run, a, b, outputs))), None)


def _difference(run: Run, a: Call, b: Call, outputs: Sequence[Port]) -> str | None:
    joined = {name: np.concatenate([a[name], b[name]]) for name in a}
    answers = []
    for call in (a, b, joined):
        try:
            answers.append(run(call))
        except (BadInput, Expired) as error:
            return f"a call of {_rows(call)} row{'s' * (_rows(call) > 1)} fails ({error})"
    first, second, both = answers
    if not all(
        _has_rows(first[port.name], _rows(a))
        and _has_rows(second[port.name], _rows(b))
        and first[port.name].shape[1:] == second[port.name].shape[1:]
        for port in outputs
    ):
        return APART
    alone = {port.name: np.concatenate([first[port.name], second[port.name]]) for port in outputs}
    if _are_close(alone, both, outputs):
        return None
    is_rounding = _are_close(alone, both, outputs, ROUNDING)
    return None if is_rounding and _ignores_others(run, a, b, both, outputs) else APART


def _ignores_others(run: Run, a: Call, b: Call, both: Call, outputs: Sequence[Port]) -> bool:
    """Whether the rows of a, and those of b, are answered alike in another company of that size.

    Where one row is computed by other kernels than two, a model that magnifies what they round
    off answers it differently, whatever the company.
    """
    split = _rows(a)
    try:
        head = run({n: np.concatenate([a[n], _repeated(a[n], _rows(b))]) for n in a})
        tail = run({n: np.concatenate([_repeated(b[n], split), b[n]]) for n in a})
    except (BadInput, Expired):
        return False
    parts = (head, slice(None, split)), (tail, slice(split, None))
    return all(
        _are_close(
            {port.name: answer[port.name][part] for port in outputs},
            {port.name: both[port.name][part] for port in outputs},
            outputs,
        )
        for answer, part in parts
    )


def _repeated(array: Array, rows: int) -> Array:
    return array[np.arange(rows) % len(array)]


def _rows(call: Call) -> int:
    return len(next(iter(call.values())))


def _has_rows(array: Array, rows: int) -> bool:
    return array.ndim > 0 and len(array) == rows


def _are_close(
    given: Call, wanted: Call, outputs: Sequence[Port], slack: float | None = None
) -> bool:
    return all(is_close(given[p.name], wanted[p.name], p.datatype, slack) for p in outputs)


def is_close(given: Array, wanted: Array, datatype: str, slack: float | None = None) -> bool:
    """Equal, or for floats within the tolerance, or within `slack`; NaN equals NaN."""
    if given.shape != wanted.shape:
        return False
    if datatype not in TOLERANCES:
        return bool((given == wanted).all())
    given, wanted = given.astype(np.float64), wanted.astype(np.float64)
    known = np.abs(wanted[np.isfinite(wanted)])
    largest = float(known.max()) if known.size else 0.0
    slack = TOLERANCES[datatype] if slack is None else slack
    return bool(np.allclose(given, wanted, rtol=slack, atol=slack * largest, equal_nan=True))
