"""int8 through ONNX Runtime's own calibration: all between two products, where that is safe."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compilers import calibration, delicate
from compilers.contracts import Work
from compilers.graph import graphs
from model_repo.tensors import Array

if TYPE_CHECKING:
    from compilers.passes.quantize import Options

OPTIONS = {"ranges", "per_channel", "reduce_range", "skip", "spare"}


def quantize(proto: Any, options: Options, kept: Collection[str], work: Work) -> Any:
    """Unsigned activations and signed weights (U8S8), the pair x86 CPUs have kernels for."""
    import onnx

    rows = calibration.batches(work.calibration)
    left = sorted({*kept, *delicate.names(proto)})
    with tempfile.TemporaryDirectory() as name:
        given, done = Path(name) / "given.onnx", Path(name) / "done.onnx"
        graphs.write(_with_flat_biases(proto), given)
        _run(given, done, options, left, rows)
        return onnx.load(done)


def _with_flat_biases(proto: Any) -> Any:
    """The bias [1, n] of a Gemm as [n], the only shape that the library has scales for."""
    gemms = [n for n in proto.graph.node if n.op_type == "Gemm" and len(n.input) > 2]
    biases = {node.input[2] for node in gemms}
    others = {
        name
        for node in proto.graph.node
        for place, name in enumerate(node.input)
        if node.op_type != "Gemm" or place != 2
    }
    for item in proto.graph.initializer:
        if item.name in biases - others and len(item.dims) == 2 and item.dims[0] == 1:
            del item.dims[0]
    return proto


def _run(
    given: Path,
    done: Path,
    options: Options,
    left: list[str],
    rows: list[dict[str, Array]],
) -> None:
    from onnxruntime import quantization as ort

    ort.quantize_static(
        str(given),
        str(done),
        Rows(rows),
        quant_format=ort.QuantFormat.QDQ,
        activation_type=ort.QuantType.QUInt8,
        weight_type=ort.QuantType.QInt8,
        calibrate_method=method(options.ranges),
        per_channel=options.per_channel,
        reduce_range=options.reduce_range,
        nodes_to_exclude=left,
    )


def method(ranges: str) -> Any:
    """ONNX Runtime's way to choose ranges, by its name among our options."""
    from onnxruntime.quantization import CalibrationMethod

    return {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }[ranges]


class Rows:
    """Hands out batches as ONNX Runtime's calibrator asks for them."""

    def __init__(self, batches: list[dict[str, Array]]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, Array] | None:
        """The next batch, or None after the last."""
        return next(self._batches, None)
