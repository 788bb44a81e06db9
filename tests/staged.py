"""A shelf with two small ONNX classifiers and a cascade of them, whose arithmetic is exact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from builders import shelve_cascade, variant
from msgspec.structs import replace
from onnx_files import FLOAT, node, write

from model_repo.records import Model, TensorSpec
from model_repo.store import Store, describe
from model_repo.tensors import Array

COLUMNS, CLASSES = 4, 3
MODEL = Model(
    "staged",
    "1",
    (TensorSpec("x", "FP32", (-1, COLUMNS)),),
    (TensorSpec("y", "FP32", (-1, CLASSES)), TensorSpec("best", "INT64", (-1, 1))),
    True,
    "accuracy",
    "y",
)


def weights(seed: int) -> Array:
    """Small whole numbers: sums of their products are exact, in whatever order and batch."""
    return np.random.default_rng(seed).integers(-3, 4, (COLUMNS, CLASSES)).astype(np.float32)


def rows(count: int, seed: int) -> Array:
    """Inputs of small whole numbers."""
    return np.random.default_rng(seed).integers(-4, 5, (count, COLUMNS)).astype(np.float32)


def offline(x: Array, threshold: float) -> tuple[Array, Array]:
    """The scores a cascade of both should give, and which rows went on."""
    first, second = x @ weights(0), x @ weights(1)
    ordered = np.sort(first, axis=1)
    goes_on = ordered[:, -1] - ordered[:, -2] < threshold
    return np.where(goes_on[:, None], second, first), goes_on


def shelve(
    root: Path, threshold: float, first_s: float = 0.001, second_s: float = 0.01, **more: Any
) -> Store:
    """ref (weights 1) is the reference, low (weights 0) is cheaper, cas is a cascade of both."""
    store = Store(root)
    for name, seed, alone_s, low in (("ref", 1, second_s, 0.95), ("low", 0, first_s, 0.8)):
        path = write(
            root.parent / f"{name}.onnx",
            [node("MatMul", "x w", "y"), node("ArgMax", "y", "best", axis=1, keepdims=1)],
            [("x", FLOAT, ["n", COLUMNS])],
            [("y", FLOAT, ["n", CLASSES]), ("best", 7, ["n", 1])],
            {"w": weights(seed)},
        )
        made = variant(name, alone_s, low, model=MODEL)
        with store.writing():
            store.commit_model(MODEL)
            store.commit(replace(made, artifact=describe(path, "onnx_graph")), path)
    made = variant("cas", first_s + second_s / 4, 0.93, model=MODEL)
    shelve_cascade(store, "cas", "low", "ref", made, MODEL, threshold=threshold, **more)
    return store
