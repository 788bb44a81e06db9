"""How long an HLS project would take for a batch, from its loops and an assumed clock."""

from __future__ import annotations

from math import ceil, log2

from compilers.contracts import Estimate, Job
from compilers.fpga import hls, tools
from model_repo.hls import Loop, Project
from model_repo.records import LatencyPoint

SHUFFLE = 6
"""Clocks to move data around at each place of a layer, as hls4ml itself reckons
(FPGABackend.set_target_reuse_factor)."""


def layer(loop: Loop) -> tuple[int, int]:
    """The fewest and the most clocks that a layer takes.

    Latency = that of a multiplier + (reuse factor - 1) x its interval, 1, + that of what follows
    (Duarte et al. 2018, arXiv:1804.06913), at one place after the other. At least: both latencies
    are 1 clock for the whole layer. At most: at each place SHUFFLE clocks and one for each level
    of the tree that adds the products of one clock.
    """
    if not loop.inputs:
        return 1, SHUFFLE
    at_once = ceil(loop.inputs / loop.reuse_factor)
    tree = ceil(log2(at_once)) if at_once > 1 else 0
    return (
        loop.places * loop.reuse_factor + 1,
        loop.places * (loop.reuse_factor + SHUFFLE + tree),
    )


def latency(project: Project, job: Job) -> Estimate:
    """Estimated: layers one after the other, each at work on the next row as soon as it is done, so
    that a row follows another after as many clocks as the slowest layer takes."""
    spans = [layer(loop) for loop in project.loops]
    first = tuple(sum(ends) for ends in zip(*spans, strict=True))
    more = tuple(max(ends) for ends in zip(*spans, strict=True))
    clock_s = 1e-6 / project.clock_mhz

    def point(size: int) -> LatencyPoint:
        low_s, high_s = (
            clock_s * (whole + (size - 1) * each) for whole, each in zip(first, more, strict=True)
        )
        return LatencyPoint(size, high_s, high_s, high_s, high_s, 0, low_s, high_s)

    return Estimate(
        tuple(map(point, job.batch_sizes)),
        "estimated",
        f"{project.part}, not synthesised, at an assumed {project.clock_mhz:g} MHz",
        ceil(sum(loop.weight_bits for loop in project.loops) / 8),
        tools.versions("hls4ml"),
        _notes(project, first, more),
    )


def _notes(
    project: Project, first: tuple[int, ...], more: tuple[int, ...]
) -> dict[str, float | str]:
    return {
        "fpga.hls_part": project.part,
        "fpga.hls_assumed_mhz": project.clock_mhz,
        "fpga.hls_clocks_low": float(first[0]),
        "fpga.hls_clocks_high": float(first[1]),
        "fpga.hls_interval_low": float(more[0]),
        "fpga.hls_interval_high": float(more[1]),
        "fpga.hls_multipliers": float(sum(map(hls.multipliers, project.loops))),
        "fpga.hls_without": "synthesis, so tables, registers and memory are not known; "
        "carrying rows to the board and back",
    }
