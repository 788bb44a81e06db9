"""Fixed-point networks small enough to be unrolled and simulated in a test."""

from __future__ import annotations

import numpy as np

from compilers.fpga.chain import windows
from compilers.fpga.fixed import Affine, FixedModel, Largest, Rectify
from model_repo.records import Model, TensorSpec
from model_repo.rtl import Fraction
from model_repo.tensors import Array

FRACTION = Fraction(3, 3)
SIGNATURE = Model(
    "tiny", "1", (TensorSpec("image", "FP32", (-1, 1, 6, 6)),),
    (TensorSpec("scores", "FP32", (-1, 3)),), batches=True, scored_output="scores",
)  # fmt: skip


def dense(weights: Array) -> FixedModel:
    """One layer without a bias on inputs of 4 bits."""
    inputs, outputs = weights.shape
    layer = Affine(weights, np.zeros(outputs), np.arange(inputs)[None])
    return FixedModel("x", "y", (inputs,), Fraction(4, 4), (layer,))


def drawn(seed: int = 0) -> FixedModel:
    """A convolution at every other pixel, a ReLU, the largest of each four, and a dense layer."""
    rng = np.random.default_rng(seed)
    rows, columns = windows((6, 6), 3, 1, 0)
    taps = (6 * rows + columns).reshape(16, 9)
    high, wide = windows((4, 4), 2, 2, 0)
    pooled = (4 * high + wide).reshape(4, 4)
    layers = (
        Affine(rng.integers(-2, 3, (9, 2)) / 4, rng.integers(-4, 5, 2) / 16, taps),
        Rectify(3, 2),
        Largest(np.concatenate([pooled, 16 + pooled])),
        Affine(rng.integers(-3, 4, (8, 3)) / 4, rng.integers(-4, 5, 3) / 8, np.arange(8)[None]),
    )
    examples = rng.integers(0, 8, (20, 36))
    return FixedModel("image", "scores", (1, 6, 6), FRACTION, layers, examples)
