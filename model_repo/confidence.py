"""How sure a model is of each row of its scores; cascades are calibrated and served by it."""

from __future__ import annotations

import numpy as np

from model_repo.errors import BadInput
from model_repo.tensors import Array


def margins(scores: Array) -> Array:
    """The difference of the two largest scores of each row, [n] from [n, k] with k at least 2.

    It grows with the odds of the best class against the next one, for logits as for
    probabilities. Scores that are not all finite give -1, which is under every threshold.
    Raises BadInput for any other output: it does not say how sure it is.
    """
    if scores.ndim != 2 or scores.shape[1] < 2 or scores.dtype.kind != "f":
        raise BadInput(
            f"an output {list(scores.shape)} of {scores.dtype} does not say how sure the model is: "
            "a cascade needs scores [n, k] in floating point, k at least 2"
        )
    best = np.partition(scores, scores.shape[1] - 2, axis=1)[:, -2:]
    with np.errstate(invalid="ignore"):
        found = np.where(np.isfinite(scores).all(axis=1), best[:, 1] - best[:, 0], -1.0)
    return found
