"""Cuts calibration rows into the batches that static modes run."""

from __future__ import annotations

from compilers.datasets import Data
from compilers.profiling.scoring import finite_rows
from model_repo.errors import BadInput
from model_repo.tensors import Array

ROWS = 20


def batches(data: Data) -> list[dict[str, Array]]:
    """Batches of ROWS, in order; raises BadInput if there are none, or one is not finite."""
    if not len(data):
        raise BadInput(
            "quantize: there are no calibration rows to take ranges from: give some, or choose "
            "the mode dynamic, weights, bf16 or fp16, which need none"
        )
    for name, array in data.inputs.items():
        lost = ~finite_rows(array)
        if lost.any():
            raise BadInput(
                f"quantize: {lost.sum()} of {len(lost)} calibration rows hold NaN or infinity in "
                f"{name!r}, and have no finite range: leave such rows out of the data"
            )
    starts = range(0, len(data), ROWS)
    return [dict(data.take(slice(at, at + ROWS)).inputs) for at in starts]
