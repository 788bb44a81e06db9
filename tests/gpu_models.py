"""Small models for the tests of the gpu target, and what its `lower` is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_files

from compilers.contracts import Job
from compilers.targets import gpu
from model_repo.records import Model, TensorSpec

CNN = Model(
    "m", "1", (TensorSpec("x", "FP32", (-1, 1, 8, 8)),), (TensorSpec("y", "FP32", (-1, 10)),), True
)


def job(signature: Model = CNN, sizes: tuple[int, ...] = (1, 8, 32), **options: Any) -> Job:
    """What the target is asked for."""
    return Job(gpu.Options(**options), signature, sizes, 0)


def cnn(folder: Path) -> Any:
    """Convolution, ReLU, product: 8 channels of 4x4, then 10 classes."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.normal(size=(8, 1, 3, 3)).astype(np.float32),
        "b": rng.normal(size=8).astype(np.float32),
        "v": rng.normal(size=(128, 10)).astype(np.float32),
    }
    path = onnx_files.write(
        folder / "given.onnx",
        [
            onnx_files.node("Conv", "x w b", "c", strides=[2, 2], pads=[1, 1, 1, 1], name="conv"),
            onnx_files.node("Relu", "c", "r", name="relu"),
            onnx_files.node("Flatten", "r", "f", name="flat"),
            onnx_files.node("MatMul", "f v", "y", name="product"),
        ],
        [("x", onnx_files.FLOAT, ["n", 1, 8, 8])],
        [("y", onnx_files.FLOAT, ["n", 10])],
        weights,
        opset=18,
    )
    return onnx.load(path)


def rows(size: int) -> Any:
    """A batch for the CNN."""
    return np.random.default_rng(size).random((size, 1, 8, 8), np.float32)
