"""NVIDIA GPUs: an ONNX file for TensorRT, engines built ahead of time, or a torch program."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from compilers.contracts import Estimate, Format, Job
from compilers.gpu import engines, halves, program, refusals, roofline
from compilers.gpu.cards import CARDS
from compilers.graph import graphs
from model_repo import tensorrt_session
from model_repo.errors import BadInput, Unsupported
from model_repo.program_archive import Settings
from model_repo.records import Artifact
from model_repo.store import describe
from model_repo.tensorrt_building import LARGEST

TARGET = "gpu"
FORMATS = {
    "tensorrt": Format(("onnx",), ("onnx", "onnxruntime")),
    "tensorrt_rtx": Format(("onnx",), ("onnx", "onnxruntime", "tensorrt-rtx"), "rtx"),
    "torch_program": Format(("torch",), ("torch",), "torch"),
}
FILES = {"tensorrt": "model.onnx", "tensorrt_rtx": "model.rtx.zip", "torch_program": "model.pt2"}

LOST = {"fp32": 0.0, "tf32": 5e-3, "fp16": 5e-3, "bf16": 0.04}
"""Largest difference, as a share of the largest output: TF32 and fp16 keep 11 bits of a number,
bf16 keeps 8, and each layer may lose one more."""


class Options(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """card: what latencies are estimated for where no GPU is.

    compute_capabilities: what tensorrt_rtx builds engines for, such as "8.9"; that of the card if
    none is named. precision, mode: how torch_program computes; bf16 and fp16 are in its weights.
    """

    card: Literal["L4", "T4", "A100", "H100", "H200"] = "L4"
    compute_capabilities: tuple[str, ...] = ()
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    mode: Literal["eager", "compiled", "graphs"] = "graphs"


def lower(model: Any, artifact_format: str, folder: Path, job: Job) -> Artifact:
    """Write the typed ONNX file, its engines beside it in a zip, or a torch.export program.

    The ONNX file is in float32, in float16 between float32 inputs and outputs, or in int8, signed
    and symmetric. Raises BadInput for a compute capability that is not known, MissingExtra without
    what builds engines, and Unsupported, naming the node, for what TensorRT does not take.
    """
    path = folder / FILES[artifact_format]
    if artifact_format == "torch_program":
        settings = Settings(precision=job.options.precision, mode=job.options.mode)
        program.write(model, job.signature, settings, path)
        return describe(path, artifact_format)
    proto = _typed(model, job)
    if artifact_format == "tensorrt":
        graphs.write(proto, path)
        return describe(path, artifact_format)
    library = tensorrt_session.load("tensorrt_rtx")
    asked = job.options.compute_capabilities or engines.of_card(
        library, job.options.card, CARDS[job.options.card].capability
    )
    job.say(f"building engines for {', '.join(asked)}")
    engines.write(library, proto, asked, path)
    return describe(path, artifact_format)


def tolerance(artifact_format: str, options: Options) -> float:
    """What a program loses in its own precision, and TensorRT in TF32, which it allows itself."""
    return LOST[options.precision if artifact_format == "torch_program" else "tf32"]


def _typed(model: Any, job: Job) -> Any:
    """The graph with the types that it is to be computed in, as TensorRT takes it."""
    import onnx

    proto = graphs.strip(model)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:  # the checker's errors and shape inference's share only Exception
        raise BadInput(f"the model is no valid ONNX: {' '.join(str(error).split())}") from error
    precision = graphs.precision(proto)
    if precision == "bf16":
        raise Unsupported("a GPU gains by fp16 what it would by bf16: use quantize in mode fp16")
    if job.batch_sizes[-1] > LARGEST:
        raise Unsupported(f"engines take batches of up to {LARGEST}: leave larger batch_sizes out")
    refusals.check(proto, job.signature)
    return halves.to_fp16(proto) if precision else proto


def estimate(path: Path, artifact_format: str, job: Job) -> Estimate:
    """What the chosen card would take, from its published peaks."""
    return roofline.estimate(path, artifact_format, CARDS[job.options.card], job)
