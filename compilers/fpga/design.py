"""The zip that holds a circuit: Verilog, what its ports mean, and what placing it came to."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np

from compilers.fpga.fixed import FixedModel
from compilers.fpga.place import Placed
from compilers.fpga.verilog import MODULE, Circuit
from model_repo import rtl
from model_repo.rtl import Design
from model_repo.tensors import Array

FIGURES, EXAMPLES = "circuit.json", "examples.json"
PLACED, XILINX, BITSTREAM, SHELL = "placed.json", "xilinx.json", "top.bit", "top.v"
_AT = (1980, 1, 1, 0, 0, 0)


class Asked(Protocol):
    """What of a target's options shapes a design."""

    @property
    def part(self) -> str: ...
    @property
    def target_mhz(self) -> float: ...
    @property
    def adders_per_stage(self) -> int: ...


class Figures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What unrolling came to; luts: da4ml's estimate. adders: the longest chain of them."""

    luts: float
    adders: int
    adders_per_stage: int
    register_bits: int


@dataclass(frozen=True)
class Found:
    """What is in a zip; examples: codes of real rows [n, inputs]."""

    design: Design
    core: str
    figures: Figures
    examples: Array
    placed: Placed | None
    xilinx: dict[str, int]


def write(model: FixedModel, circuit: Circuit, options: Asked, path: Path) -> None:
    """Write a design that is not placed yet: same model and options, same bytes."""
    facts = Design(
        MODULE,
        options.part,
        circuit.stages,
        model.input_name,
        model.output_name,
        circuit.inputs,
        circuit.outputs,
        options.target_mhz,
    )
    figures = Figures(circuit.cost, circuit.adders, options.adders_per_stage, circuit.register_bits)
    pack(
        {
            rtl.FACTS: facts,
            FIGURES: figures,
            EXAMPLES: model.examples.tolist(),
            rtl.CORE: circuit.verilog,
        },
        path,
    )


def extend(given: Path, files: Mapping[str, Any], path: Path) -> None:
    """Write what is in the zip `given`, and more files, into another at `path`."""
    with zipfile.ZipFile(given) as file:
        before = {name: file.read(name) for name in file.namelist()}
    pack({**before, **files}, path)


def pack(files: Mapping[str, Any], path: Path) -> None:
    """Write files into one zip, what is no bytes or text as JSON: same files, same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for name, given in files.items():
            entry = zipfile.ZipInfo(name, _AT)
            # Else they would say on which system the file was made.
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            raw = given if isinstance(given, bytes | str) else msgspec.json.encode(given)
            file.writestr(entry, raw)


def read(path: Path) -> Found:
    """All that a zip says; raises Corrupt if it is no design."""
    facts, core = rtl.read_design(path)
    with zipfile.ZipFile(path) as file:
        names = set(file.namelist())

        def part(name: str, kind: Any) -> Any:
            return msgspec.json.decode(file.read(name), type=kind) if name in names else None

        examples = np.array(part(EXAMPLES, list[list[int]]), np.int64)
        return Found(
            facts,
            core,
            part(FIGURES, Figures),
            examples.reshape(-1, len(facts.inputs)),
            part(PLACED, Placed),
            part(XILINX, dict[str, int]) or {},
        )
