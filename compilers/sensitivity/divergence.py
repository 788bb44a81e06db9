"""How far the answers of a changed model lie from those of the model itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compilers.profiling.scoring import row_cosines
from model_repo.errors import BadInput
from model_repo.records import Metric
from model_repo.tensors import Array

UNUSABLE = 1e9
"""The divergence of answers that are not numbers: JSON has no infinity."""


def divergence(wanted: Sequence[Array], given: Sequence[Array], metric: Metric) -> float:
    """The mean over outputs `[n, ...]`, 0 where the answers are equal.

    Scores [n, k]: the mean Kullback-Leibler divergence, in nats, of softmax(given) from
    softmax(wanted). Anything else, and whatever is judged by its cosine: 1 - the mean row cosine.
    """
    parts = [_one(a, b, metric) for a, b in zip(wanted, given, strict=True)]
    mean = float(np.mean(parts))
    return mean if np.isfinite(mean) else UNUSABLE


def check(wanted: Sequence[Array]) -> None:
    """Raise BadInput unless the model itself answers numbers."""
    if not wanted:
        raise BadInput("it answers no floats, so that nothing shows how sensitive its layers are")
    if not all(np.isfinite(array).all() for array in wanted):
        raise BadInput(
            "the model answers NaN or infinity on calibration rows: correct its weights or the data"
        )


def _one(wanted: Array, given: Array, metric: Metric) -> float:
    if metric == "cosine" or wanted.ndim != 2 or wanted.shape[1] < 2:
        return float(1.0 - row_cosines(given, wanted).mean())
    p, q = _log_softmax(wanted), _log_softmax(given)
    # Rounding may leave a sum of nearly equal terms a little under zero.
    return float(np.maximum(0.0, (np.exp(p) * (p - q)).sum(axis=1).mean()))


def _log_softmax(scores: Array) -> Array:
    shifted = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    logs: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logs
