"""Runs a typed ONNX file through TensorRT: an engine is built beside the GPU at first load."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from model_repo import cuda, tensorrt_session
from model_repo.errors import MissingExtra
from model_repo.records import Model
from model_repo.runtime import Session
from model_repo.runtimes import onnx_graph

LIBRARIES = ("onnxruntime", "tensorrt")
COMPILES_SIZES = True
PACKAGE = "tensorrt"


def open_session(path: Path, model: Model, slots: int = 1) -> Session:
    """An engine on the GPU; where there is none, ONNX Runtime on the CPU, for the answers alone.

    Raises MissingExtra beside a GPU without TensorRT, Unsupported if it builds no engine.
    """
    if not cuda.is_ready():
        return onnx_graph.open_session(path, model, slots)
    library = tensorrt_session.load(PACKAGE)
    plan = tensorrt_session.built_here(library, path.read_bytes())
    return tensorrt_session.open_engine(library, plan, model)


def device() -> str:
    """A GPU where there is one that torch can use."""
    return "gpu" if cuda.is_ready() else "cpu"


def check() -> None:
    """Raise MissingDevice without a GPU, MissingExtra without TensorRT, or torch for its memory."""
    cuda.check("running TensorRT engines")
    if find_spec(PACKAGE) is None:
        raise MissingExtra("running TensorRT engines", PACKAGE, tensorrt_session.EXTRAS[PACKAGE])
