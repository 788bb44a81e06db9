"""Runs a torch.export program on an NVIDIA GPU: eager, compiled, or as CUDA graphs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_repo import cuda, program_archive
from model_repo.errors import Corrupt, MissingExtra
from model_repo.program_archive import Settings
from model_repo.records import Model
from model_repo.torch_session import Prepare, Tensors, TorchSession

if TYPE_CHECKING:
    import torch

LIBRARIES = ("torch",)
COMPILES_SIZES = True
WARM_UP = 3
"""Runs before a CUDA graph is captured: libraries choose kernels and take memory in the first."""


def open_session(path: Path, model: Model, slots: int = 1) -> TorchSession:
    """Open a program on the GPU, or on the CPU for its answers alone.

    Raises Corrupt, before torch has seen it, for one that would run code when it is loaded.
    """
    settings = program_archive.read_settings(path)
    try:
        import torch
    except ImportError as error:
        raise MissingExtra("running torch programs", "torch", "gpu") from error
    place = "cuda" if cuda.is_ready() else "cpu"
    try:
        with warnings.catch_warnings():
            # torch calls a function of its own that it has deprecated.
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec", FutureWarning)
            program = torch.export.load(str(path))
    except Exception as error:  # the loader's errors share no parent but Exception
        reason = " ".join(str(error).split())[:300]
        raise Corrupt(f"{path} is not usable in torch {torch.__version__}: {reason}") from error
    return TorchSession(_prepare(program, settings, model, place), model, place)


def _prepare(program: Any, settings: Settings, model: Model, place: str) -> Prepare:
    import torch

    if place == "cuda":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, "cuda")
    compute = program.module(check_guards=False)
    if place == "cuda" and settings.mode == "compiled":
        compute = torch.compile(compute, dynamic=True)
    names = [spec.name for spec in model.outputs]

    def step_over(inputs: Tensors) -> Callable[[], Tensors]:
        given = tuple(inputs[spec.name] for spec in model.inputs)

        def step() -> Tensors:
            # Set for the whole process, and programs take turns on a GPU.
            torch.backends.cuda.matmul.allow_tf32 = settings.precision == "tf32"
            torch.backends.cudnn.allow_tf32 = settings.precision == "tf32"
            return _named(compute(*given), names)

        return _captured(step) if place == "cuda" and settings.mode == "graphs" else step

    return step_over


def _named(made: Any, names: list[str]) -> Mapping[str, torch.Tensor]:
    values = made if isinstance(made, tuple | list) else (made,)
    return dict(zip(names, values, strict=True))


def _captured(step: Callable[[], Tensors]) -> Callable[[], Tensors]:
    """The same as one CUDA graph: every kernel is launched at a stroke."""
    import torch

    for _ in range(WARM_UP):
        step()
    torch.cuda.current_stream().synchronize()
    graph = torch.cuda.CUDAGraph()
    # What other threads do with the driver meanwhile is no part of it.
    with torch.cuda.graph(
        graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"
    ):
        outputs = step()

    def replay() -> Tensors:
        graph.replay()
        return outputs

    return replay


def device() -> str:
    """A GPU where there is one that torch can use."""
    return "gpu" if cuda.is_ready() else "cpu"


def check() -> None:
    """Raise MissingExtra without torch, MissingDevice without a GPU that it can use."""
    cuda.check("running torch programs")
