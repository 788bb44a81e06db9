"""Runs engines that TensorRT for RTX built without a GPU, each for one compute capability."""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path

from model_repo import cuda, tensorrt_session
from model_repo.errors import MissingExtra
from model_repo.records import Model
from model_repo.runtime import Session
from model_repo.runtimes import onnx_graph
from model_repo.tensorrt_archive import GRAPH, about, engine_name, part

LIBRARIES = ("onnxruntime", "tensorrt-rtx")
COMPILES_SIZES = True
PACKAGE = "tensorrt_rtx"


def open_session(path: Path, model: Model, slots: int = 1) -> Session:
    """The engine of this GPU; without a GPU ONNX Runtime on the CPU, for the answers alone.

    An engine that the zip lacks, or that another version made, is built on this host and kept.
    """
    known = about(path)
    if not cuda.is_ready():
        with tempfile.TemporaryDirectory() as name:
            graph = Path(name, GRAPH)
            graph.write_bytes(part(path, GRAPH))
            return onnx_graph.open_session(graph, model, slots)
    library = tensorrt_session.load(PACKAGE)
    gpu = cuda.find()
    is_there = gpu is not None and gpu.capability in known.capabilities
    if gpu and is_there and known.tensorrt_rtx == library.__version__:
        plan = part(path, engine_name(gpu.capability))
    else:
        plan = tensorrt_session.built_here(library, part(path, GRAPH))
    return tensorrt_session.open_engine(library, plan, model)


def device() -> str:
    """A GPU where there is one that torch can use."""
    return "gpu" if cuda.is_ready() else "cpu"


def check() -> None:
    """Raise MissingDevice without a GPU, MissingExtra without the library, or torch."""
    cuda.check("running TensorRT engines")
    if find_spec(PACKAGE) is None:
        raise MissingExtra(
            "running TensorRT engines", "tensorrt-rtx", tensorrt_session.EXTRAS[PACKAGE]
        )
