"""CPUs: an ONNX file for ONNX Runtime, or OpenVINO's intermediate representation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compilers.contracts import Format
from compilers.graph import graphs, ir
from model_repo.errors import BadInput, Unsupported
from model_repo.records import Artifact
from model_repo.store import describe

TARGET = "cpu"
FORMATS = {
    "onnx_graph": Format("onnx", ("onnx",)),
    "openvino_ir": Format("onnx", ("onnx", "openvino"), "openvino"),
}


def lower(model: Any, artifact_format: str, folder: Path) -> Artifact:
    """Write `model`, an onnx.ModelProto, as `model.onnx` or `model.ir.zip`.

    Raises BadInput if it is invalid, and Unsupported for bf16 without a CPU or a runtime for it,
    and for what OpenVINO cannot read.
    """
    import onnx

    proto = graphs.strip(model)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:  # the checker's errors and shape inference's share only Exception
        raise BadInput(f"the model is no valid ONNX: {' '.join(str(error).split())}") from error
    if artifact_format == "openvino_ir":
        ir.write(proto, folder / ir.FILE)
        return describe(folder / ir.FILE, artifact_format)
    if graphs.precision(proto):
        raise Unsupported("ONNX Runtime has no bf16 kernels for CPUs: OpenVINO has")
    graphs.write(proto, folder / "model.onnx")
    return describe(folder / "model.onnx", artifact_format)
