"""int8 as TensorRT and TPUs take it: signed, symmetric, only what products read."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compilers import calibration
from compilers.contracts import Work
from compilers.graph import graphs
from compilers.quantizers import qdq

if TYPE_CHECKING:
    from compilers.passes.quantize import Options

OPTIONS = {"ranges", "skip", "spare"}
PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""What int8 units compute. Everything else stays in floating point, and a compiler that fuses, as
TensorRT does, rounds to int8 at the end of the kernel before."""


def quantize(proto: Any, options: Options, kept: Collection[str], work: Work) -> Any:
    """S8 by S8, zero points 0, one scale for each output channel; biases stay in floating point.

    A pair of QuantizeLinear and DequantizeLinear before each product, as TensorRT asks for:
    "Working with Quantized Types" in its documentation, explicit quantization.
    """
    import onnx

    rows = calibration.batches(work.calibration)
    with tempfile.TemporaryDirectory() as name:
        given, done = Path(name) / "given.onnx", Path(name) / "done.onnx"
        graphs.write(proto, given)
        _run(given, done, options, sorted(kept), qdq.Rows(rows))
        return onnx.load(done)


def _run(given: Path, done: Path, options: Options, left: list[str], rows: qdq.Rows) -> None:
    from onnxruntime import quantization as ort

    ort.quantize_static(
        str(given),
        str(done),
        rows,
        quant_format=ort.QuantFormat.QDQ,
        op_types_to_quantize=list(PRODUCTS),
        activation_type=ort.QuantType.QInt8,
        weight_type=ort.QuantType.QInt8,
        calibrate_method=qdq.method(options.ranges),
        per_channel=True,
        nodes_to_exclude=left,
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": list(PRODUCTS),
        },
    )
