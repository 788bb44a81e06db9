"""Runs an engine on the GPU, and keeps engines built on this host for the next time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_repo import cuda, durable
from model_repo.errors import Corrupt, MissingExtra
from model_repo.records import Model
from model_repo.tensorrt_building import build, logger
from model_repo.tensors import dtype_of
from model_repo.torch_session import Tensors, TorchSession

if TYPE_CHECKING:
    import torch


PLACE = "cuda"
"""Where the tensors of engines lie."""


EXTRAS = {"tensorrt": "tensorrt", "tensorrt_rtx": "gpu"}
"""TensorRT has an extra of its own: it takes its libraries from its maker's host, if that can be
reached."""


def load(name: str) -> Any:
    """TensorRT's package, or that for RTX; raises MissingExtra."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.replace("_", "-")
        raise MissingExtra("TensorRT engines", package, EXTRAS[name]) from error


def built_here(library: Any, data: bytes) -> bytes:
    """The engine of an ONNX file for the GPU of this machine, built at the first call.

    Kept by what it depends on: the file, the card's compute capability, the library's version.
    """
    gpu = cuda.find()
    assert gpu, "engines are built beside a GPU"
    sha256 = hashlib.sha256(data).hexdigest()
    name = f"{library.__name__}-{library.__version__}-sm{gpu.capability}-{sha256}.engine"
    path = _cache() / name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        durable.write_bytes(path, build(library, data))
    return path.read_bytes()


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "farebox" / "engines"


def open_engine(library: Any, plan: bytes, model: Model) -> TorchSession:
    """A session over an engine; raises Corrupt if the library does not take it."""
    # The engine needs its maker for as long as it lives, and a context its engine.
    maker = library.Runtime(logger(library))
    engine = maker.deserialize_cuda_engine(plan)
    if engine is None:
        raise Corrupt(
            f"{library.__name__} {library.__version__} does not take the engine of {model.name}: "
            "it was built by another version or for another GPU; compile the variant again"
        )
    return TorchSession(_prepare((maker, engine), model), model, "cuda")


def _prepare(opened: tuple[Any, Any], model: Model) -> Callable[[Tensors], Callable[[], Tensors]]:
    """Steps over one context, since runs on one GPU wait for each other anyway."""
    import torch

    context = opened[1].create_execution_context()

    def step_over(inputs: Tensors) -> Callable[[], Tensors]:
        for name, tensor in inputs.items():
            context.set_input_shape(name, tuple(tensor.shape))
        outputs = {
            spec.name: torch.empty(
                tuple(context.get_tensor_shape(spec.name)),
                dtype=_torch_type(spec.datatype),
                device=PLACE,
            )
            for spec in model.outputs
        }

        def step() -> Tensors:
            for name, tensor in inputs.items():
                context.set_input_shape(name, tuple(tensor.shape))
            for name, tensor in (*inputs.items(), *outputs.items()):
                context.set_tensor_address(name, tensor.data_ptr())
            if not context.execute_async_v3(_stream()):
                raise RuntimeError("TensorRT could not start the engine")
            return outputs

        return step

    return step_over


def _torch_type(datatype: str) -> torch.dtype:
    import numpy as np
    import torch

    return torch.from_numpy(np.empty(0, dtype_of(datatype, "output"))).dtype


def _stream() -> int:
    import torch

    return int(torch.cuda.current_stream().cuda_stream) if PLACE == "cuda" else 0
