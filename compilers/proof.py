"""Prove that rows answered together are answered as they are alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from compilers.signature import Port
from model_repo.errors import BadInput, Expired
from model_repo.tensors import Array

Call = Mapping[str, Array]
Run = Callable[[Call], Call]

# Of the largest value: other batch sizes add up in another order; 16-bit floats round more.
TOLERANCES = {"FP64": 1e-6, "FP32": 1e-4, "FP16": 1e-2, "BF16": 5e-2}


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


def difference(
    run: Run,
    pairs: Iterable[tuple[Call, Call]],
    outputs: Sequence[Port],
    slack: float | None = None,
) -> str | None:
    """Why running [a; b] is not like running a, then b; None if it is for every pair.

    slack: allowed difference of floats, of the largest value; TOLERANCES if None.
    """
    found = (_difference(run, a, b, outputs, slack) for a, b in pairs)
    return next((why for why in found if why), None)


def _difference(
    run: Run, a: Call, b: Call, outputs: Sequence[Port], slack: float | None
) -> str | None:
    joined = {name: np.concatenate([a[name], b[name]]) for name in a}
    answers, rows = [], []
    for call in (a, b, joined):
        rows.append(len(next(iter(call.values()))))
        try:
            answers.append(run(call))
        except (BadInput, Expired) as error:
            return f"a call of {rows[-1]} row{'s' * (rows[-1] > 1)} fails ({error})"
    first, second, both = answers
    is_alike = all(
        _has_rows(first[port.name], rows[0])
        and _has_rows(second[port.name], rows[1])
        and first[port.name].shape[1:] == second[port.name].shape[1:]
        and is_close(
            np.concatenate([first[port.name], second[port.name]]),
            both[port.name],
            port.datatype,
            slack,
        )
        for port in outputs
    )
    return None if is_alike else "rows answered together differ from rows answered alone"


def _has_rows(array: Array, rows: int) -> bool:
    return array.ndim > 0 and len(array) == rows


def is_close(given: Array, wanted: Array, datatype: str, slack: float | None = None) -> bool:
    """Equal, or for floats within the tolerance; NaN equals NaN."""
    if given.shape != wanted.shape:
        return False
    if datatype not in TOLERANCES:
        return bool((given == wanted).all())
    given, wanted = given.astype(np.float64), wanted.astype(np.float64)
    known = np.abs(wanted[np.isfinite(wanted)])
    largest = float(known.max()) if known.size else 0.0
    slack = TOLERANCES[datatype] if slack is None else slack
    if np.isinf(slack):
        return True
    return bool(np.allclose(given, wanted, rtol=slack, atol=slack * largest, equal_nan=True))
