"""CPUs: an ONNX file for ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compilers import graphs
from compilers.contracts import Form
from model_repo.errors import BadInput
from model_repo.records import Artifact
from model_repo.store import describe

TARGET = "cpu"
FORM: Form = "onnx"
LIBRARIES = ("onnx",)
FILE = "model.onnx"


def lower(model: Any, folder: Path) -> Artifact:
    """Write `model`, an onnx.ModelProto, as `model.onnx`; raises BadInput if it is invalid."""
    import onnx

    proto = graphs.strip(model)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:  # the checker's errors and shape inference's share only Exception
        raise BadInput(f"the model is no valid ONNX: {' '.join(str(error).split())}") from error
    graphs.write(proto, folder / FILE)
    return describe(folder / FILE, "onnx_graph")
