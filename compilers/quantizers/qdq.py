"""int8 through ONNX Runtime's own calibration: all between two products, where that is safe."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compilers import calibration, delicate, graphs
from compilers.contracts import Work
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
        graphs.write(proto, given)
        try:
            _run(given, done, options, left, rows, {})
        except ValueError:
            # It makes scales of weights fit their biases, and trips there over one a channel.
            _run(given, done, options, left, rows, {"QDQDisableWeightAdjustForInt32Bias": True})
        return onnx.load(done)


def _run(
    given: Path,
    done: Path,
    options: Options,
    left: list[str],
    rows: list[dict[str, Array]],
    extra: dict[str, Any],
) -> None:
    from onnxruntime import quantization as ort

    methods = {
        "minmax": ort.CalibrationMethod.MinMax,
        "entropy": ort.CalibrationMethod.Entropy,
        "percentile": ort.CalibrationMethod.Percentile,
    }
    ort.quantize_static(
        str(given),
        str(done),
        Rows(rows),
        quant_format=ort.QuantFormat.QDQ,
        activation_type=ort.QuantType.QUInt8,
        weight_type=ort.QuantType.QInt8,
        calibrate_method=methods[options.ranges],
        per_channel=options.per_channel,
        reduce_range=options.reduce_range,
        nodes_to_exclude=left,
        extra_options=extra,
    )


class Rows:
    """Hands out batches as ONNX Runtime's calibrator asks for them."""

    def __init__(self, batches: list[dict[str, Array]]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, Array] | None:
        """The next batch, or None after the last."""
        return next(self._batches, None)
