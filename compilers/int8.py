"""Make int8 variants of an imported model through the same pass and target that recipes use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compilers import calibration, calls, integers, opsets
from compilers.contracts import Work
from compilers.datasets import Data
from compilers.passes import quantize
from compilers.source import Source
from compilers.targets import cpu
from model_repo.errors import BadInput, FareboxError
from model_repo.records import Artifact, Model, PassStep
from model_repo.tensors import Array

MODES = {"cpu-int8": "static", "cpu-int8-dynamic": "dynamic"}
"""Variant name -> mode of the pass."""

LEAST_OPSET = 13

PRODUCTS = {"Attention", "Conv", "ConvTranspose", "Gemm", "GRU", "LSTM", "MatMul", "RNN"}
"""What int8 makes cheaper; around anything else it only adds conversions."""


@dataclass(frozen=True)
class CallByCall(Data):
    """Data whose every slice of calibration rows is one call, for a model that does not batch.

    The pass feeds slices of that many rows; such a model takes other shapes.
    """

    calls: tuple[dict[str, Array], ...] = ()

    def __len__(self) -> int:
        return len(self.calls) * calibration.ROWS

    def take(self, rows: Array | slice) -> Data:
        """The call that stands at this slice."""
        assert isinstance(rows, slice), "the quantizer takes slices, in order"
        return Data(self.calls[rows.start // calibration.ROWS])


def step(variant: str) -> PassStep:
    """The pass and options that make `variant`."""
    return PassStep("quantize", {"mode": MODES[variant]})


def make(
    variant: str,
    path: Path,
    model: Model,
    rows: Data,
    seed: int,
    folder: Path,
    say: Callable[[str], None],
) -> Artifact:
    """Quantize the file at `path` into `folder`; raises BadInput saying why that cannot be done."""
    import onnx

    before = opsets.raised(onnx.load(str(path)), LEAST_OPSET, "int8 needs")
    if not PRODUCTS & set(integers.kinds(before.graph)):
        raise BadInput("it has no convolution and no matrix product to quantize")
    options = quantize.Options(mode=MODES[variant])
    data = _as_calls(model, rows) if calls.rows_per_call(model, rows) else rows
    source = Source(path, {}, lambda: data)
    work = Work(source, data, data, data, seed, say)
    try:
        made = quantize.apply(before, options, work)
    except FareboxError:
        raise
    except Exception as error:  # a third-party quantizer raises anything on graphs it cannot take
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadInput(f"the quantizer cannot take this graph: {reason}") from error
    if integers.quantizing(made.graph) == integers.quantizing(before.graph):
        raise BadInput("the quantizer found nothing in it that it knows how to quantize")
    return cpu.lower(made, "onnx_graph", folder)


def _as_calls(model: Model, data: Data) -> CallByCall:
    taken = calls.rows_per_call(model, data) or 1
    starts = range(0, len(data) - taken + 1, taken)
    cut = tuple(calls.feed(model, data, np.arange(at, at + taken)) for at in starts)
    if not cut:
        raise BadInput(f"one call takes {taken} rows, and calibration has {len(data)}")
    return CallByCall(data.inputs, data.labels, cut)
