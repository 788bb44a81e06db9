"""How long a card takes for a batch, as a range: from its published peaks to what is likely.

The roofline (Williams, Waterman and Patterson 2009, doi:10.1145/1498765.1498785): a kernel takes
at least flops / peak and at least bytes / bandwidth, whichever is longer.

    low  = max(sum of flops / peak, (weights beyond the cache + batch) / bandwidth) + one launch
    high = sum over kernels of max(flops / (COMPUTES peak), bytes / (MOVES bandwidth)) + launch
           + copies of the batch from and to the host

low is a bound: all kernels fused into one, nothing but the batch through memory; weights that fit
the second-level cache are taken to stay there. high is what ordinary kernels reach, every tensor
through memory and back; small kernels, which fill a card badly, may take longer still.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from compilers.contracts import Estimate, Job
from compilers.digests import versions
from compilers.gpu import counting
from compilers.gpu.cards import Card, Precision
from compilers.gpu.counting_torch import Program
from compilers.gpu.kernels import Kernel, Load
from model_repo import program_archive
from model_repo.records import LatencyPoint
from model_repo.tensorrt_archive import GRAPH, part

COMPUTES, MOVES = 0.35, 0.6
"""Shares of the peaks that ordinary kernels reach: allowances of ours, not measured yet; tests/gpu
holds them against a card."""
LAUNCH_S = {"tensorrt": 4e-6, "eager": 10e-6, "compiled": 5e-6, "graphs": 2e-6}
"""Seconds from one kernel to the next: 2 us in a CUDA graph and 4 us launched one by one (NVIDIA,
"Getting Started with CUDA Graphs", 2019: 3.4 and 3.8 us with a kernel of 2.9 us), and more where
Python calls each."""
COPY_S = 10e-6
"""Seconds that a copy between host and card takes besides its bytes."""

Count = Callable[[int], Load]


def estimate(path: Path, artifact_format: str, card: Card, job: Job) -> Estimate:
    """The range for each batch size; raises Unsupported for sizes that depend on the data."""
    count, launched = _counter(path, artifact_format, job)
    loads = {size: count(size) for size in job.batch_sizes}
    points = tuple(_point(size, load, card, launched) for size, load in loads.items())
    one, most = loads[job.batch_sizes[0]], loads[job.batch_sizes[-1]]
    return Estimate(
        points,
        "estimated",
        f"NVIDIA {card.name}, estimated by a roofline",
        round(most.memory_bytes),
        versions(["torch"] if artifact_format == "torch_program" else ["onnx"]),
        {
            "gpu.card": card.name,
            "gpu.peaks": card.source,
            "gpu.flops": one.flops,
            "gpu.bytes": one.moved_bytes,
            "gpu.kernels": float(len(_launches(one, launched))),
        },
        card.priced_as,
    )


def _counter(path: Path, artifact_format: str, job: Job) -> tuple[Count, str]:
    """What counts the artifact, and how its kernels are launched."""
    if artifact_format == "torch_program":
        settings = program_archive.read_settings(path)
        return Program(path, job.signature, settings.precision).count, settings.mode
    import onnx

    data = path.read_bytes() if artifact_format == "tensorrt" else part(path, GRAPH)
    proto = onnx.load_from_string(data)
    return lambda batch: counting.count(proto, batch), "tensorrt"


def _point(size: int, load: Load, card: Card, launched: str) -> LatencyPoint:
    low, high = bounds(load, card, launched)
    return LatencyPoint(size, high, high, high, high, 0, low, high)


def bounds(load: Load, card: Card, launched: str) -> tuple[float, float]:
    """Seconds for one batch, the least and the likely most; see the formulas above."""
    kernels = _launches(load, launched)
    computed = sum(each.flops / _peak(card, each.precision, best=True) for each in kernels)
    moved = max(0.0, load.weight_bytes - card.cache_bytes) + load.io_bytes
    low = max(computed, moved / card.memory_bytes_s)
    likely = sum(_likely(each, card, launched) for each in kernels)
    return low + LAUNCH_S["graphs"], likely + load.io_bytes / card.host_bytes_s + 2 * COPY_S


def _launches(load: Load, launched: str) -> list[Kernel]:
    """The kernels that are launched: compilers fuse pointwise ones into others."""
    fuses = launched in ("tensorrt", "compiled")
    return [kernel for kernel in load.kernels if not (fuses and kernel.is_fused)]


def _likely(kernel: Kernel, card: Card, launched: str) -> float:
    computed = kernel.flops / (COMPUTES * _peak(card, kernel.precision, best=False))
    moved = kernel.moved_bytes / (MOVES * card.memory_bytes_s)
    return max(computed, moved) + LAUNCH_S[launched]


def _peak(card: Card, precision: Precision, *, best: bool) -> float:
    """Operations a second; a card without units for a precision computes in fp32.

    best: fp32 may run as TF32, which TensorRT allows itself.
    """
    if precision == "fp32" and best:
        precision = "tf32"
    return card.peak.get(precision, card.peak["fp32"])
