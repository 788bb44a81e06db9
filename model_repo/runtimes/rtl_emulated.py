"""Runs a circuit's Verilog, bit for bit, in a simulator that this host builds and keeps."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from model_repo import rtl, verilator
from model_repo.errors import BadInput
from model_repo.records import Model
from model_repo.rtl import Design
from model_repo.tensors import Array

LIBRARIES = ("verilator",)
COMPILES_SIZES = False


class RtlSession:
    """One simulated circuit; the calling thread computes, so CPU time is device time."""

    def __init__(self, design: Design, simulator: verilator.Simulator, model: Model) -> None:
        self._design = design
        self._simulator = simulator
        # Every number of an input is rounded alike.
        self._format = design.inputs[0]
        self._shape = model.inputs[0].shape[1:]
        self._fractions = np.array([each.fraction for each in design.outputs])

    def run(
        self, inputs: Mapping[str, Array], limit_s: float | None = None
    ) -> tuple[dict[str, Array], int]:
        start = time.thread_time_ns()
        rows = inputs.get(self._design.input_name)
        if rows is None or rows.shape[1:] != self._shape:
            raise BadInput(
                f"the circuit takes {self._design.input_name!r} with rows of {list(self._shape)}, "
                f"and was given {_told(inputs)}"
            )
        rtl.check_finite(rows, self._design.input_name)
        codes = self._format.codes(rows.reshape(len(rows), -1))
        words = rtl.pack(codes, self._design.inputs)
        answers = self._simulator.run(words, self._design.stages, limit_s)
        codes = rtl.unpack(answers, self._design.outputs)
        values = np.ldexp(codes.astype(np.float64), -self._fractions).astype(np.float32)
        return {self._design.output_name: values}, time.thread_time_ns() - start

    def close(self) -> None:
        """The library stays loaded: nothing can tell that no other session uses it."""


def _told(inputs: Mapping[str, Array]) -> str:
    return ", ".join(f"{name!r} {list(array.shape)}" for name, array in inputs.items()) or "nothing"


def open_session(path: Path, model: Model, slots: int = 1) -> RtlSession:
    """Open a design's zip; the first time on a host this builds its simulator, for up to minutes.

    Raises Corrupt for a file that is no design, MissingExtra without Verilator, and MissingDevice
    without a C++ compiler.
    """
    design, core = rtl.read_design(path)
    return RtlSession(design, rtl.core_simulator(design, core), model)


def device() -> str:
    """A simulator runs on the CPU."""
    return "cpu"


def check() -> None:
    """Raise MissingExtra without Verilator, and MissingDevice without a C++ compiler."""
    verilator.check()
