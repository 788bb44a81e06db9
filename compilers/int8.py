"""Make int8 variants of an imported model through the same pass and target that recipes use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compilers import calls
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
    """Data whose every slice of `quantize.ROWS` rows is one call, for a model that does not batch.

    The pass feeds slices of that many rows; such a model takes other shapes.
    """

    calls: tuple[dict[str, Array], ...] = ()

    def __len__(self) -> int:
        return len(self.calls) * quantize.ROWS

    def take(self, rows: Array | slice) -> Data:
        """The call that stands at this slice."""
        assert isinstance(rows, slice), "the quantizer takes slices, in order"
        return Data(self.calls[rows.start // quantize.ROWS])


def step(variant: str) -> PassStep:
    """The pass and options that make `variant`."""
    return PassStep("quantize", {"mode": MODES[variant]})


def make(
    variant: str,
    path: Path,
    model: Model,
    calibration: Data,
    seed: int,
    folder: Path,
    say: Callable[[str], None],
) -> Artifact:
    """Quantize the file at `path` into `folder`; raises BadInput saying why that cannot be done."""
    import onnx

    before = _raised(onnx.load(str(path)))
    if not PRODUCTS & set(_kinds(before.graph)):
        raise BadInput("it has no convolution and no matrix product to quantize")
    options = quantize.Options(mode="dynamic" if MODES[variant] == "dynamic" else "static")
    data = _as_calls(model, calibration) if calls.rows_per_call(model, calibration) else calibration
    source = Source(path, {}, lambda: data)
    work = Work(source, data, data, data, seed, say)
    counts = _quantizing(before.graph)
    try:
        made = quantize.apply(before, options, work)
    except FareboxError:
        raise
    except Exception as error:  # a third-party quantizer raises anything on graphs it cannot take
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadInput(f"the quantizer cannot take this graph: {reason}") from error
    if _quantizing(made.graph) == counts:
        raise BadInput("the quantizer found nothing in it that it knows how to quantize")
    return cpu.lower(made, "onnx_graph", folder)


def _raised(proto: Any) -> Any:
    """The model at an opset that has scales per channel; raises BadInput if it cannot be raised."""
    from onnx import version_converter

    given = max((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if not given or given >= LEAST_OPSET:
        return proto
    try:
        return version_converter.convert_version(proto, LEAST_OPSET)
    except Exception as error:  # the converter raises anything on operators it does not know
        reason = " ".join(str(error).split())[:200]
        raise BadInput(
            f"it cannot be raised from opset {given} to {LEAST_OPSET}, which int8 needs: {reason}"
        ) from error


def _as_calls(model: Model, data: Data) -> CallByCall:
    taken = calls.rows_per_call(model, data) or 1
    starts = range(0, len(data) - taken + 1, taken)
    cut = tuple(calls.feed(model, data, np.arange(at, at + taken)) for at in starts)
    if not cut:
        raise BadInput(f"one call takes {taken} rows, and calibration has {len(data)}")
    return CallByCall(data.inputs, data.labels, cut)


def _quantizing(graph: Any) -> Counter[str]:
    """How often each operator that computes in integers, or leads there, stands in a graph."""
    return Counter(
        kind
        for kind in _kinds(graph)
        if "Quant" in kind or "Integer" in kind or kind.startswith("QLinear")
    )


def _kinds(graph: Any) -> Iterator[str]:
    for node in graph.node:
        yield node.op_type
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _kinds(attribute.g)
