"""CPUs: an ONNX file for ONNX Runtime, or OpenVINO's intermediate representation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import Struct

from compilers.contracts import Format, Job
from compilers.graph import graphs, ir
from model_repo.errors import BadInput, Unsupported
from model_repo.records import Artifact
from model_repo.store import describe

TARGET = "cpu"
FORMATS = {
    "onnx_graph": Format(("onnx",), ("onnx",)),
    "openvino_ir": Format(("onnx",), ("onnx", "openvino"), "openvino"),
}


class Options(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A CPU leaves nothing to choose."""


def lower(model: Any, artifact_format: str, folder: Path, job: Job | None = None) -> Artifact:
    """Write `model`, an onnx.ModelProto, as `model.onnx` or `model.ir.zip`.

    Raises BadInput if it is invalid, and Unsupported for fp16, for bf16 without a CPU or a runtime
    for it, and for what OpenVINO cannot read.
    """
    import onnx

    proto = graphs.strip(model)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:  # the checker's errors and shape inference's share only Exception
        raise BadInput(f"the model is no valid ONNX: {' '.join(str(error).split())}") from error
    if graphs.precision(proto) == "fp16":
        raise Unsupported("fp16 is for GPUs: on CPUs it gains nothing in either runtime")
    if artifact_format == "openvino_ir":
        ir.write(proto, folder / ir.FILE)
        return describe(folder / ir.FILE, artifact_format)
    if graphs.precision(proto):
        raise Unsupported("ONNX Runtime has no bf16 kernels for CPUs: OpenVINO has")
    graphs.write(proto, folder / "model.onnx")
    return describe(folder / "model.onnx", artifact_format)
