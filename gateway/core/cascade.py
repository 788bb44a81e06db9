"""What a cascade makes of its outputs: which rows go on, and one answer of both stages."""

from __future__ import annotations

import numpy as np

from gateway.core.stacking import Feed
from model_repo.confidence import margins
from model_repo.errors import BadInput
from model_repo.records import Cascade
from model_repo.tensors import Array


def unsure(cascade: Cascade, outputs: Feed) -> Array:
    """The places of the rows that go on, rising; raises BadInput for scores that tell no doubt."""
    return np.flatnonzero(margins(outputs[cascade.output]) < cascade.threshold)


def pick(feed: Feed, rows: Array) -> Feed:
    """Those rows of every input."""
    return {name: array[rows] for name, array in feed.items()}


def merge(first: Feed, rows: Array, second: Feed) -> dict[str, Array]:
    """The first stage's outputs with `rows` taken from the second's, row by row in order.

    Raises BadInput where the two stages answer in different shapes or types.
    """
    merged = {}
    for name, array in first.items():
        again = second[name]
        if (array.shape[1:], array.dtype) != (again.shape[1:], again.dtype):
            raise BadInput(
                f"the two stages answer {name!r} in different forms, {array.dtype} "
                f"{list(array.shape[1:])} and {again.dtype} {list(again.shape[1:])} a row: pin one "
                "of them"
            )
        merged[name] = array.copy()
        merged[name][rows] = again
    return merged
