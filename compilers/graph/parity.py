"""Check that a model still answers the same after it was rewritten, at several batch sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compilers.forms import TorchModel
from compilers.fpga.fixed import FixedModel
from compilers.graph import graphs, integers
from compilers.materials import Materials
from model_repo import runtime
from model_repo.errors import BadInput
from model_repo.tensors import Array

Runner = Callable[[Mapping[str, Array]], Array]
TOLERANCE = 1e-3
BF16_TOLERANCE = 0.02
QUANTIZED_TOLERANCE = 0.1
"""Largest difference, as a share of the largest output. bf16 keeps 8 bits of a number, so each
operator loses up to 2^-9 of it. Kernels of whole numbers round where the graph's own definition
computes in floating point, so a step of the scale may be lost in each."""


def check_artifact(
    model: Any, path: Path, artifact_format: str, materials: Materials, least: float = 0.0
) -> None:
    """Raise BadInput unless the artifact, in its runtime, answers as `model` does.

    least: the tolerance where the artifact computes in fewer bits than the model.
    """
    signature = materials.model
    session = runtime.load(artifact_format).open_session(path, signature)

    def given(inputs: Mapping[str, Array]) -> Array:
        return session.run(inputs)[0][signature.scored_output]

    try:
        check(runner(model), given, materials, max(least, tolerance_of(model)))
    finally:
        session.close()


def check(
    wanted: Runner, given: Runner, materials: Materials, tolerance: float = TOLERANCE
) -> None:
    """Raise BadInput unless both answer alike at batches of 1, 3 and the largest, in numbers."""
    data = materials.splits.calibration
    (spec,) = materials.model.outputs
    for size in sorted({1, 3, materials.largest_batch}):
        inputs = data.take(np.arange(size) % len(data)).inputs
        right, answer = wanted(inputs), given(inputs)
        if answer.shape != (size, *spec.shape[1:]):
            raise BadInput(
                f"at batch {size} the model answers {list(answer.shape)}, but the signature says "
                f"{list(spec.shape)}: every network of a recipe must answer alike"
            )
        if not np.isfinite(right).all():
            raise BadInput(
                f"at batch {size} the model answers NaN or infinity: look for such in its weights "
                "and in the data, and train it at a lower learning rate if it diverged"
            )
        if not np.isfinite(answer).all():
            raise BadInput(
                f"at batch {size} the rewritten model answers NaN or infinity, and the model it "
                "was made from does not: it cannot be trusted"
            )
        gap = float(np.abs(answer - right).max() / max(1.0, float(np.abs(right).max())))
        if gap > tolerance:
            raise BadInput(
                f"at batch {size} the rewritten model's answers differ by {gap:.2g} of the largest "
                f"output, and {tolerance:g} is allowed: it cannot be trusted"
            )


def runner(model: Any) -> Runner:
    """Runs a model in flight as it is defined, without a runtime's rewriting."""
    if isinstance(model, FixedModel):
        return model.run
    if isinstance(model, TorchModel):
        import torch

        def run_torch(inputs: Mapping[str, Array]) -> Array:
            with torch.no_grad():
                answer = model.module.eval()(*map(torch.from_numpy, inputs.values()))
            array: Array = answer.numpy()
            return array

        return run_torch
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def run_onnx(inputs: Mapping[str, Array]) -> Array:
        array: Array = session.run(None, dict(inputs))[0]
        return array

    return run_onnx


def tolerance_of(model: Any) -> float:
    """How far, as a share of the largest output, answers may be from those of `model`."""
    if isinstance(model, FixedModel):
        return 0.0  # a circuit answers as its numbers say, to the last bit
    if isinstance(model, TorchModel):
        return TOLERANCE
    if integers.quantizing(model.graph):
        return QUANTIZED_TOLERANCE
    return BF16_TOLERANCE if graphs.precision(model) else TOLERANCE
