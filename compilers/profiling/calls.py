"""Cut rows of data into calls that a model accepts, and join the answers again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from compilers.datasets import Data
from model_repo.errors import BadInput
from model_repo.records import Model
from model_repo.runtime import Session
from model_repo.tensors import Array

JOINED_ROWS = 64


def rows_per_call(model: Model, data: Data) -> int | None:
    """How many rows one call takes; None if the model batches and takes any number.

    A model that does not batch takes as many rows as its fixed first axis says, or one where that
    axis is free. An array with one axis more than its tensor holds a whole call in each row.
    Raises BadInput if the inputs cannot be cut in step.
    """
    if model.batches:
        return None
    wanted = {
        1 if is_whole(data.inputs[s.name], s.shape) else max(1, s.shape[0]) for s in model.inputs
    }
    if len(wanted) > 1:
        raise BadInput(
            f"the inputs of {model.name} take {sorted(wanted)} rows a call: give each array one "
            "axis more than its tensor, so that each row is a whole call"
        )
    return wanted.pop()


def is_whole(array: Array, shape: tuple[int, ...]) -> bool:
    """Whether each row of `array` is a whole tensor of `shape`, not one row of it."""
    return array.ndim == len(shape) + 1


def feed(model: Model, data: Data, rows: Array) -> dict[str, Array]:
    """The inputs of one call that takes `rows`."""
    if model.batches:
        return {spec.name: data.inputs[spec.name][rows] for spec in model.inputs}
    return {
        spec.name: np.asarray(array[rows[0]], array.dtype)
        if is_whole(array := data.inputs[spec.name], spec.shape)
        else array[rows]
        for spec in model.inputs
    }


def compute(
    session: Session, model: Model, data: Data, limit_s: float | None = None
) -> dict[str, Array]:
    """Every output for the rows of `data`, in order, one row of answer for one of data.

    Rows that do not fill a call of a fixed size are left out at the end.
    Raises BadInput if the answers to two calls differ in shape.
    """
    taken = rows_per_call(model, data)
    answers = [session.run(inputs, limit_s)[0] for inputs in _cut(model, data, taken)]
    if not answers:
        raise BadInput(f"{model.name} takes {taken} rows a call, but {len(data)} were given")
    joined: dict[str, Array] = {}
    for spec in model.outputs:
        parts = [answer[spec.name] for answer in answers]
        if len({part.shape[1:] for part in parts}) > 1:
            raise BadInput(
                f"the output {spec.name!r} changes its shape from row to row: give data whose rows "
                "are answered with one shape"
            )
        alone = taken is not None and (taken == 1 or any(len(p.shape) == 0 for p in parts))
        joined[spec.name] = _join(parts, alone)
    return joined


def _cut(model: Model, data: Data, taken: int | None) -> Iterator[dict[str, Array]]:
    size, end = taken or JOINED_ROWS, len(data)
    for start in range(0, end, size):
        rows = np.arange(start, min(start + size, end))
        if taken is None or len(rows) == taken:
            yield feed(model, data, rows)


def _join(parts: list[Array], alone: bool) -> Array:
    if not alone:
        return np.concatenate(parts)
    # A call of one row may still answer [1, k]: that first axis is the row itself.
    rows = [part if part.ndim and len(part) == 1 else part[np.newaxis] for part in parts]
    return np.concatenate(rows)
