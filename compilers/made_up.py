"""Make inputs up for a model that came without data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from compilers.datasets import Data
from compilers.foreign.signature import Port
from model_repo.errors import BadInput
from model_repo.tensors import DTYPES, Array

SIZES = (16, 8, 32, 64, 128, 224, 1)
"""Tried in turn for every free axis but the batch: common lengths and image sides."""

MOST_ROWS, MOST_BYTES = 64, 64 * 2**20
MOST_ELEMENTS = 2**28


def draw(
    ports: Sequence[Port], size: int, rng: np.random.Generator, batch: int | None = None
) -> dict[str, Array]:
    """One call's inputs: floats in [0, 1), integers 0 or 1, strings "0" or "1".

    Every free axis has `size`, so axes of one name are equal; axis 0 has `batch` if that is given.
    """
    return {port.name: _values(port, _shape(port, size, batch), rng) for port in ports}


def data(ports: Sequence[Port], size: int, rng: np.random.Generator, *, batches: bool) -> Data:
    """Rows to time a model on; each row is a whole call if the model does not batch."""
    first = draw(ports, size, rng, 1 if batches else None)
    row_bytes = max(1, sum(array.nbytes for array in first.values()))
    rows = max(2, min(MOST_ROWS, MOST_BYTES // row_bytes))
    if batches:
        return Data(draw(ports, size, rng, rows))
    made = [first, *(draw(ports, size, rng) for _ in range(rows - 1))]
    return Data({port.name: np.stack([call[port.name] for call in made]) for port in ports})


def _shape(port: Port, size: int, batch: int | None) -> tuple[int, ...]:
    sizes = [size if side < 0 else side for side in port.shape or ()]
    if math.prod(sizes) > MOST_ELEMENTS:
        raise BadInput(
            f"{port.name!r} {sizes} has more than the {MOST_ELEMENTS} elements that are made up"
        )
    if batch is not None:
        sizes[0] = batch
    return tuple(sizes)


def _values(port: Port, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    dtype = DTYPES[port.datatype]
    if port.datatype.startswith(("FP", "BF")):
        return np.asarray(rng.random(shape)).astype(dtype)
    bits = np.asarray(rng.integers(0, 2, shape))
    return bits.astype(str).astype(object) if port.datatype == "BYTES" else bits.astype(dtype)
