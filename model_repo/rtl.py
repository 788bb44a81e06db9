"""What a circuit's zip says of itself, and how numbers become the bits of its ports."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from model_repo import verilator
from model_repo.errors import BadInput, Corrupt
from model_repo.tensors import Array

FACTS, CORE = "design.json", "core.v"
WORD_BITS = 32


def check_finite(rows: Array, name: str) -> None:
    """Raise BadInput for what no fixed-point number stands for."""
    if not np.isfinite(rows).all():
        row = int(np.argwhere(~np.isfinite(rows))[0][0])
        raise BadInput(
            f"the input {name!r} has NaN or an infinity in row {row}, which a circuit has no "
            "number for: send finite ones"
        )


class Fraction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fixed-point number: `bits` bits in all, `fraction` of them behind the point, which may be
    more than there are, or fewer than none; signed ones in two's complement."""

    bits: int
    fraction: int
    signed: bool = False

    def codes(self, values: Array) -> Array:
        """The whole numbers, int64, that stand for `values`: half to even, saturating."""
        low = -(2 ** (self.bits - 1)) if self.signed else 0
        scaled = np.rint(np.ldexp(values.astype(np.float64), self.fraction))
        return np.clip(scaled, low, low + 2**self.bits - 1).astype(np.int64)

    def values(self, codes: Array) -> Array:
        """What the codes stand for, float64, exactly."""
        return np.ldexp(codes.astype(np.float64), -self.fraction)


class Design(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pipelined circuit that takes one row, and answers an earlier one, at every clock.

    module: the core's name in `core.v`; it has the ports clk, model_inp and model_out. inputs,
    outputs: one number each, the first at the lowest bits. stages: clocks from a row's registers to
    its answer's.
    """

    module: str
    part: str
    stages: int
    input_name: str
    output_name: str
    inputs: tuple[Fraction, ...]
    outputs: tuple[Fraction, ...]
    target_mhz: float

    @property
    def input_bits(self) -> int:
        """The width of model_inp."""
        return sum(each.bits for each in self.inputs)

    @property
    def output_bits(self) -> int:
        """The width of model_out."""
        return sum(each.bits for each in self.outputs)


def read_design(path: Path) -> tuple[Design, str]:
    """The facts and the Verilog in a zip; raises Corrupt if there are none."""
    try:
        with zipfile.ZipFile(path) as file:
            facts = msgspec.json.decode(file.read(FACTS), type=Design)
            return facts, file.read(CORE).decode()
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, msgspec.MsgspecError) as error:
        raise Corrupt(f"{path} is no circuit that can be simulated: {error}") from error


def core_simulator(design: Design, core: str) -> verilator.Simulator:
    """The simulator of a design's core; raises what `verilator.simulator` does."""
    wide, broad = design.input_bits, design.output_bits
    wires = (
        f"{design.module} core (.clk(clk), .model_inp(x[{wide - 1}:0]), "
        f".model_out(y[{broad - 1}:0]));"
    )
    return verilator.simulator({CORE: core}, wires, (wide, broad))


def pack(codes: Array, formats: Sequence[Fraction]) -> Array:
    """Codes [n, values] as the words of a port: uint32 [n, words], lowest bits first."""
    widths = np.array([each.bits for each in formats])
    words = -(-int(widths.sum()) // WORD_BITS)
    bits = np.zeros((len(codes), words * WORD_BITS), np.uint8)
    column = np.repeat(np.arange(len(widths)), widths)
    place = np.arange(len(column)) - np.repeat(np.cumsum(widths) - widths, widths)
    bits[:, : len(column)] = codes[:, column] >> place & 1
    return np.packbits(bits, axis=1, bitorder="little").view("<u4")


def unpack(words: Array, formats: Sequence[Fraction]) -> Array:
    """The codes, int64 [n, values], that `pack` made words of."""
    bits = np.unpackbits(np.ascontiguousarray(words, "<u4").view(np.uint8), 1, bitorder="little")
    codes, start = np.zeros((len(words), len(formats)), np.int64), 0
    for column, each in enumerate(formats):
        own = bits[:, start : start + each.bits].astype(np.int64)
        weights = 1 << np.arange(each.bits, dtype=np.int64)
        if each.signed and each.bits:
            weights[-1] = -weights[-1]
        codes[:, column] = own @ weights
        start += each.bits
    return codes
