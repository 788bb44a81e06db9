"""Checks that a synthesised netlist answers to the last bit as the circuit that it was made of."""

from __future__ import annotations

import numpy as np

from compilers.fpga import aiger
from model_repo import rtl
from model_repo.errors import FareboxError
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
RANDOM_ROWS = 1000
# The placer's own file, with the models of its cells in place of the empty boxes that it has of
# them. Each kind of cell becomes gates before all are put together, which is ten times as fast.
# The clock becomes an input like the others: the models say what its edges do.
TO_GATES = (
    "read_json {netlist}; delete =* top %d; read_verilog -defer -overwrite {cells}; "
    "hierarchy -check -top top; proc; clk2fflogic; simplemap; opt_expr; aigmap; "
    "flatten -wb -noscopeinfo; write_aiger -zinit -ascii -symbols {gates}"
)


def shell(design: Design) -> str:
    """The Verilog of the module `top`, which holds the core."""
    return SHELL.format(wide=design.input_bits, broad=design.output_bits, module=design.module)


def check(gates: str, design: Design, core: str, examples: Array, seed: int) -> int:
    """How many rows, real and drawn by chance, the netlist, shell included, answered as the core's
    simulator does. gates: the netlist in AIGER. Raises FareboxError if an answer differs."""
    rng = np.random.default_rng(seed)
    drawn = [rng.integers(*_bounds(each), RANDOM_ROWS) for each in design.inputs]
    words = rtl.pack(np.concatenate([examples, np.stack(drawn, 1)]), design.inputs)
    wanted = rtl.core_simulator(design, core).run(words, design.stages)
    given = _shifted(aiger.read(gates), design, _bits(words, design.input_bits))
    wrong = int((_bits(wanted, design.output_bits) != given).any(axis=1).sum())
    if wrong:
        raise FareboxError(
            f"the netlist that synthesis made answers {wrong} of {len(words)} rows otherwise than "
            "the circuit: it was not placed; please report this"
        )
    return len(words)


def _bounds(each: rtl.Fraction) -> tuple[int, int]:
    low = -(2 ** (each.bits - 1)) if each.signed else 0
    return low, low + 2**each.bits


def _shifted(graph: aiger.Graph, design: Design, bits: Array) -> Array:
    """What leaves the shell, bits [rows, width], when each row, bits from the lowest, is shifted
    into a circuit of its own, each clock first low and then high."""
    wide, broad = design.input_bits, design.output_bits
    # A row is whole once its last bit is in; its answer is there `stages` + 1 clocks after.
    load = wide + design.stages + 1
    words = -(-len(bits) // aiger.LANES)
    levels = {name: np.zeros((load + broad, words), np.uint64) for name in graph.inputs}
    levels["din"][:wide] = _lanes(bits[:, ::-1].T, words)
    levels["load"][load] = ~np.uint64(0)
    steps = np.repeat(np.stack([levels[name] for name in graph.inputs], 1), 2, axis=0)
    steps[1::2, graph.inputs.index("clk")] = ~np.uint64(0)
    out = graph.run(steps)[1::2, 0][load:]
    given: Array = _bits(out.view(np.uint32), len(bits)).T[:, ::-1]
    return given


def _lanes(bits: Array, words: int) -> Array:
    """Bits [n, rows] as words [n, words], row by row from the lowest bit."""
    whole = np.zeros((len(bits), words * aiger.LANES), np.uint8)
    whole[:, : bits.shape[1]] = bits
    packed: Array = np.packbits(whole, axis=1, bitorder="little").view("<u8")
    return packed


def _bits(words: Array, width: int) -> Array:
    """The lowest `width` bits of each row of words, the lowest first."""
    raw = np.ascontiguousarray(words, "<u4").view(np.uint8)
    bits: Array = np.unpackbits(raw, axis=1, bitorder="little")[:, :width]
    return bits
