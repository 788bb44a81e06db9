"""What is made of an imported file, through the same passes and target that recipes use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from compilers import calibration
from compilers.contracts import Work
from compilers.datasets import Data
from compilers.graph import integers, opsets
from compilers.passes import quantize
from compilers.profiling import calls
from compilers.source import Source
from compilers.targets import cpu
from model_repo.errors import BadInput
from model_repo.records import Model, PassStep
from model_repo.tensors import Array

LEAST_OPSET = 13


@dataclass(frozen=True)
class Derived:
    """One graph, in each format it is tried in; options: of `quantize`, None to leave it alone."""

    name: str
    options: quantize.Options | None
    formats: tuple[str, ...]

    @property
    def variants(self) -> dict[str, str]:
        """Shelved name -> artifact format, named as recipes name theirs."""
        parts = {each: (cpu.TARGET, self.name, cpu.FORMATS[each].suffix) for each in self.formats}
        return {"-".join(filter(None, parts[each])): each for each in self.formats}

    @property
    def steps(self) -> tuple[PassStep, ...]:
        """The passes between the file and the artifact, with every option."""
        if self.options is None:
            return ()
        return (PassStep("quantize", msgspec.to_builtins(self.options)),)


_BOTH = ("onnx_graph", "openvino_ir")
DEFAULT = (
    Derived("fp32", None, ("openvino_ir",)),
    Derived("bf16", quantize.Options(mode="bf16"), ("openvino_ir",)),
    Derived("int8", quantize.Options(mode="static"), _BOTH),
    # Other ways to int8, for graphs that the first is not good for; they suit ONNX Runtime alone.
    Derived("int8-qdq", quantize.Options(mode="qdq"), ("onnx_graph",)),
    Derived("int8-dynamic", quantize.Options(mode="dynamic"), ("onnx_graph",)),
)
ASKED = {
    "w8": Derived("w8", quantize.Options(mode="weights", bits=8), _BOTH),
    "w4": Derived("w4", quantize.Options(mode="weights", bits=4), _BOTH),
}
"""Made only if asked for: they save space, not always time."""


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


def graph(
    each: Derived,
    path: Path,
    model: Model,
    rows: Data,
    seed: int,
    say: Callable[[str], None],
    notes: dict[str, float | str],
) -> Any:
    """The onnx.ModelProto of `each`, made of the file; raises BadInput if that cannot be done.

    notes: takes what the pass says of it.
    """
    import onnx

    before = onnx.load(str(path))
    if each.options is None:
        return before
    data = _as_calls(model, rows) if calls.rows_per_call(model, rows) else rows
    work = Work(Source(path, {}, lambda: data), data, data, data, seed, say, notes)
    if each.options.mode == "bf16":
        return quantize.apply(before, each.options, work)
    before = opsets.raised(before, LEAST_OPSET, "int8 needs")
    if not integers.PRODUCTS & set(integers.kinds(before.graph)):
        raise BadInput("it has no convolution and no matrix product to quantize")
    made = quantize.apply(before, each.options, work)
    if not integers.quantizing(made.graph):
        raise BadInput("the quantizer found nothing in it that it knows how to quantize")
    return made


def _as_calls(model: Model, data: Data) -> CallByCall:
    taken = calls.rows_per_call(model, data) or 1
    starts = range(0, len(data) - taken + 1, taken)
    cut = tuple(calls.feed(model, data, np.arange(at, at + taken)) for at in starts)
    if not cut:
        raise BadInput(f"one call takes {taken} rows, and calibration has {len(data)}")
    return CallByCall(data.inputs, data.labels, cut)
