"""Cuts calibration rows into the batches that static modes run."""

from __future__ import annotations

import numpy as np

from compilers.datasets import Data
from model_repo.errors import BadInput
from model_repo.tensors import Array

ROWS = 20


def batches(data: Data) -> list[dict[str, Array]]:
    """Batches of ROWS, in order; raises BadInput if there are none, or one holds NaN."""
    if not len(data):
        raise BadInput(
            "quantize: there are no calibration rows to take ranges from: give some, or choose "
            "the mode dynamic, weights or bf16, which need none"
        )
    for name, array in data.inputs.items():
        if array.dtype.kind == "f" and np.isnan(array).any():
            row = int(np.argwhere(np.isnan(array))[0][0])
            raise BadInput(
                f"quantize: row {row} of the calibration rows holds NaN in {name!r}, and has no "
                "finite range: leave such rows out"
            )
    starts = range(0, len(data), ROWS)
    return [dict(data.take(slice(at, at + ROWS)).inputs) for at in starts]
