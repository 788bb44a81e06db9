"""Compute in int8: weights per channel, activations in ranges seen on the calibration data."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from compilers import graphs
from compilers.contracts import Form, Work
from compilers.datasets import Data
from model_repo.errors import BadInput

FORM: Form = "onnx"
LIBRARIES = ("numpy", "onnx", "onnxruntime")
ROWS = 20


class Options(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """mode: static, with ranges from calibration rows, or dynamic, with ranges found at each run.

    static writes unsigned activations and signed weights (U8S8), the pair CPUs have kernels for.
    ranges: how static ones are chosen from what was seen. per_channel: one scale for each output
    channel of a weight, not one for all. reduce_range: 7-bit weights, for CPUs without VNNI,
    where sums of U8S8 products can overflow. skip: names of ONNX nodes left in floating point.
    """

    mode: Literal["static", "dynamic"] = "static"
    ranges: Literal["minmax", "entropy", "percentile"] = "minmax"
    per_channel: bool = True
    reduce_range: bool = False
    skip: tuple[str, ...] = ()


def apply(model: Any, options: Options, work: Work) -> Any:
    """The quantized onnx.ModelProto."""
    import onnx
    from onnxruntime.quantization import quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    work.say(f"quantizing, {options.mode}")
    with tempfile.TemporaryDirectory() as name, _quiet():
        given, ready, done = (Path(name) / f"{stage}.onnx" for stage in ("given", "ready", "done"))
        graphs.write(model, given)
        # Shapes are inferred already by the exporter; the symbolic pass would need sympy.
        quant_pre_process(str(given), str(ready), skip_symbolic_shape=True)
        _check_skip(options, onnx.load(ready))
        shared = {
            "per_channel": options.per_channel,
            "reduce_range": options.reduce_range,
            "nodes_to_exclude": list(options.skip),
        }
        if options.mode == "dynamic":
            _forget_shapes(ready)
            quantize_dynamic(str(ready), str(done), **shared)
        else:
            _quantize_static(ready, done, options, work.calibration, shared)
        return graphs.strip(onnx.load(done))


def _check_skip(options: Options, proto: Any) -> None:
    # The library says nothing of a name it does not find.
    names = {node.name for node in proto.graph.node}
    for name in options.skip:
        if name not in names:
            raise BadInput(
                f"quantize: skip names the node {name!r}, which the graph does not have: "
                f"its nodes are {', '.join(sorted(names))}"
            )


def _forget_shapes(path: Path) -> None:
    # Dynamic quantization transposes weights and then trips over their recorded old shapes.
    import onnx

    proto = onnx.load(path)
    del proto.graph.value_info[:]
    graphs.write(proto, path)


def _quantize_static(
    ready: Path, done: Path, options: Options, data: Data, shared: dict[str, Any]
) -> None:
    from onnxruntime import quantization as ort

    methods = {
        "minmax": ort.CalibrationMethod.MinMax,
        "entropy": ort.CalibrationMethod.Entropy,
        "percentile": ort.CalibrationMethod.Percentile,
    }
    ort.quantize_static(
        str(ready),
        str(done),
        Rows(data),
        quant_format=ort.QuantFormat.QDQ,
        activation_type=ort.QuantType.QUInt8,
        weight_type=ort.QuantType.QInt8,
        calibrate_method=methods[options.ranges],
        **shared,
    )


class Rows:
    """Feeds calibration rows in batches, as ONNX Runtime's calibrator asks for them."""

    def __init__(self, data: Data) -> None:
        starts = range(0, len(data), ROWS)
        self._batches = iter([data.take(slice(at, at + ROWS)).inputs for at in starts])

    def get_next(self) -> dict[str, Any] | None:
        """The next batch, or None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else dict(batch)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # The library warns on the root logger of steps that are done here or are not wanted.
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
