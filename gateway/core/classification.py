"""The classification extension: the largest values of an output with their places and labels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from model_repo.errors import BadInput
from model_repo.tensors import Array


def classify(array: Array, count: int, labels: Sequence[str], batches: bool, output: str) -> Array:
    """The `count` largest values of each row as BYTES "value:index[:label]", the largest first.

    array: [rows, ...], or [...] as one row where the model has no batch axis; each row is taken
    flat. Returns [rows, k] or [k], k being the lesser of `count` and a row's values. Equal values
    come in the order of their places, NaN after all others. Raises BadInput for strings.
    """
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        raise BadInput(f"the output {output!r} holds strings: it cannot be asked for by class")
    rows = array.reshape(len(array) if batches else 1, math.prod(array.shape[int(batches) :]))
    size = min(count, rows.shape[1])
    wide = rows.astype(np.float64) if rows.dtype.kind not in "iu" else rows
    # Sorted backwards and read from the end: a stable sort of the negated would overflow.
    order = np.argsort(_ascending(wide)[:, ::-1], axis=1, kind="stable")[:, ::-1][:, :size]
    order = rows.shape[1] - 1 - order
    found = np.empty((len(rows), size), dtype=object)
    for row in range(len(rows)):
        for place, index in enumerate(order[row].tolist()):
            label = f":{labels[index]}" if index < len(labels) else ""
            found[row, place] = f"{_text(wide[row, index])}:{index}{label}".encode()
    return found if batches else found[0]


def _ascending(rows: Array) -> Array:
    if rows.dtype.kind != "f":
        return rows
    return np.where(np.isnan(rows), -np.inf, rows)


def _text(value: object) -> str:
    # Six places, as Triton has them.
    return f"{value:f}" if isinstance(value, float) else str(value)
