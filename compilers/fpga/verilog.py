"""Unroll a fixed-point network into shifts and adders, and write them as pipelined Verilog."""

from __future__ import annotations

import re
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compilers.fpga.fixed import FixedModel
from model_repo.errors import MissingExtra
from model_repo.rtl import Fraction

MODULE = "network"
ONE_DELAY_EACH = (1, -1, -1)
"""da4ml's model of the hardware: every adder takes one unit of delay, whatever its width."""
_MODULE = re.compile(r"^\s*module\s+(\w+)", re.MULTILINE)


@dataclass(frozen=True)
class Circuit:
    """The Verilog of a network and its ports; cost: da4ml's estimate, in LUTs; adders: the longest
    chain of them from input to output."""

    verilog: str
    stages: int
    inputs: tuple[Fraction, ...]
    outputs: tuple[Fraction, ...]
    cost: float
    adders: int
    register_bits: int


def unroll(model: FixedModel, adders_per_stage: int) -> Circuit:
    """The circuit, with registers after every `adders_per_stage` adders (distributed arithmetic:
    Sun et al. 2025, arXiv:2507.04535); raises MissingExtra."""
    try:
        from da4ml.codegen.rtl import VerilogModel
        from da4ml.trace import FixedVariableArray, HWConfig, comb_trace, to_pipeline
    except ModuleNotFoundError as error:
        raise MissingExtra("making a circuit", error.name or "da4ml", "fpga") from error
    given = model.format
    ones = np.ones(int(np.prod(model.shape)), int)
    signed = int(given.signed)
    values = FixedVariableArray.from_kif(
        ones * signed,
        ones * (given.bits - signed - given.fraction),
        ones * given.fraction,
        hwconf=HWConfig(*ONE_DELAY_EACH),
    )
    logic = comb_trace(values, model.compute(values), keep_dead_inputs=True)
    pipeline = to_pipeline(logic, adders_per_stage, verbose=False)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        VerilogModel(pipeline, MODULE, folder, print_latency=False).write()
        text = _collected(Path(folder) / "src")
    return Circuit(
        text,
        len(pipeline.solutions),
        tuple(map(_fraction, pipeline.inp_qint)),
        tuple(map(_fraction, pipeline.out_qint)),
        float(logic.cost),
        int(max(logic.out_latency)),
        int(pipeline.reg_bits),
    )


def _fraction(interval: Any) -> Fraction:
    from da4ml.types import minimal_kif

    signed, whole, fraction = minimal_kif(interval)
    return Fraction(int(signed) + whole + fraction, fraction, bool(signed))


def _collected(folder: Path) -> str:
    """All modules in one text, those of the library that are used before their users."""
    own = [folder / f"{MODULE}.v"]
    stages = folder.glob(f"{MODULE}_stage*.v")
    own += sorted(stages, key=lambda path: int(path.stem.rpartition("stage")[2]))
    core = "\n".join(path.read_text() for path in own)
    library = []
    for path in sorted((folder / "static").glob("*.v")):
        text = path.read_text()
        if any(re.search(rf"\b{name}\b\s*#", core) for name in _MODULE.findall(text)):
            library.append(text)
    return "\n".join([*library, core])
