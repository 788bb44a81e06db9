"""TPUs: one StableHLO program, which a TPU, a GPU and a CPU all compile for themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import Struct

from compilers.contracts import Estimate, Format, Job
from compilers.forms import TorchModel
from compilers.graph import graphs
from compilers.tpu import estimates, from_torch, program
from compilers.tpu.onnx import graph
from model_repo.errors import Unsupported
from model_repo.records import Artifact
from model_repo.store import describe

TARGET = "tpu"
FORMATS = {
    "stablehlo": Format(("torch", "onnx"), ("flatbuffers", "jax", "jaxlib", "onnx", "torchax")),
}


class Options(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """topologies: the chips it is compiled for ahead of time, each CHIP:ROWSxCOLUMNS as libtpu
    names them; one chip of the first is what the profile stands for, the others are notes.
    """

    topologies: tuple[str, ...] = ("v5e:2x2", "v6e:2x2")


def check(options: Options) -> None:
    """Raise BadInput for topologies that are not known."""
    estimates.check(options.topologies)


def lower(model: Any, artifact_format: str, folder: Path, job: Job) -> Artifact:
    """Write `model`, a TorchModel or an onnx.ModelProto, as `model.stablehlo`.

    Raises Unsupported, naming them with their layers, for operators that it has no words for, for
    a way that depends on the data, and for fp16.
    """
    check(job.options)
    path = folder / program.FILE
    if isinstance(model, TorchModel):
        function = from_torch.to_function(model.module, job.signature)
    else:
        if graphs.precision(model) == "fp16":
            raise Unsupported("a TPU computes in bf16, not in fp16: use quantize in mode bf16")
        function = graph.to_function(model, job.signature)
    program.write(function, job.signature, path)
    return describe(path, artifact_format)


def estimate(path: Path, artifact_format: str, job: Job) -> Estimate:
    """What one chip of the first topology would take, as the TPU's own compiler says."""
    check(job.options)
    return estimates.estimate(path, job.options.topologies, job)
