"""How long a circuit takes for a batch, from its stages and its clock."""

from __future__ import annotations

from compilers.contracts import Estimate, Job
from compilers.fpga import tools
from compilers.fpga.design import Found
from compilers.fpga.parts import PARTS
from model_repo.records import LatencyPoint

SLOWEST_ADDER_S = 6e-9
"""Of an adder with its wires in a full part; a clock that was not reached is doubted down to it."""


def latency(found: Found, job: Job) -> Estimate:
    """Emulated at the clock that place-and-route reached; else estimated, from the clock that was
    asked for down to one at which every adder of a stage takes SLOWEST_ADDER_S."""
    placed, design = found.placed, found.design
    fastest_s = 1e-6 / (placed.mhz if placed else design.target_mhz)
    slowest_s = fastest_s
    if not placed:
        slowest_s = max(fastest_s, found.figures.adders_per_stage * SLOWEST_ADDER_S)
    chip = PARTS[design.part].chip
    how = "placed by nextpnr" if placed else f"at an assumed {design.target_mhz:g} MHz"
    return Estimate(
        tuple(_point(size, design.stages, fastest_s, slowest_s) for size in job.batch_sizes),
        "emulated" if placed else "estimated",
        f"{chip}, {how}",
        placed.bitstream_bytes if placed else 0,
        placed.versions if placed else tools.versions("da4ml"),
        _notes(found),
    )


def _point(size: int, stages: int, fastest_s: float, slowest_s: float) -> LatencyPoint:
    """One row enters at each clock, and leaves `stages` clocks later."""
    clocks = stages + size - 1
    low_s, high_s = clocks * fastest_s, clocks * slowest_s
    return LatencyPoint(size, high_s, high_s, high_s, high_s, 0, low_s, high_s)


def _notes(found: Found) -> dict[str, float | str]:
    design, figures, placed = found.design, found.figures, found.placed
    notes: dict[str, float | str] = {
        "fpga.part": design.part,
        "fpga.stages": float(design.stages),
        "fpga.adders": float(figures.adders),
        "fpga.luts_estimated": figures.luts,
        "fpga.without": "carrying rows to the board and back",
    }
    if placed:
        notes["fpga.mhz"] = placed.mhz
        notes["fpga.latency_ns"] = 1e3 * design.stages / placed.mhz
        notes["fpga.rows_checked"] = float(placed.rows_checked)
        for cell, count in placed.used.items():
            notes[f"fpga.{cell.lower()}"] = float(count)
            notes[f"fpga.{cell.lower()}_share"] = count / placed.available[cell]
    else:
        notes["fpga.assumed_mhz"] = design.target_mhz
    notes |= {f"fpga.xilinx_{cell.lower()}": float(n) for cell, n in found.xilinx.items()}
    return notes
