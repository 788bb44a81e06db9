"""Runs an HLS project's C++, bit for bit as a vendor's tool would, built by this host and kept."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from model_repo import hls, native, rtl
from model_repo.errors import BadInput
from model_repo.hls import Emulator, Project
from model_repo.records import Model
from model_repo.tensors import Array

LIBRARIES: tuple[str, ...] = ()
COMPILES_SIZES = False


class HlsSession:
    """One emulated project; the calling thread computes, so CPU time is device time."""

    def __init__(self, project: Project, emulator: Emulator, model: Model) -> None:
        self._project = project
        self._emulator = emulator
        self._shape = model.inputs[0].shape[1:]

    def run(
        self, inputs: Mapping[str, Array], limit_s: float | None = None
    ) -> tuple[dict[str, Array], int]:
        start = time.thread_time_ns()
        name, rounded = self._project.input_name, self._project.format
        rows = inputs.get(name)
        if rows is None or rows.shape[1:] != self._shape:
            given = ", ".join(f"{each!r} {list(rows.shape)}" for each, rows in inputs.items())
            raise BadInput(
                f"the circuit takes {name!r} with rows of {list(self._shape)}, "
                f"and was given {given or 'nothing'}"
            )
        rtl.check_finite(rows, name)
        values = rounded.values(rounded.codes(rows.reshape(len(rows), -1)))
        answers = self._emulator.run(values, limit_s).astype(np.float32)
        return {self._project.output_name: answers}, time.thread_time_ns() - start

    def close(self) -> None:
        """The library stays loaded: nothing can tell that no other session uses it."""


def open_session(path: Path, model: Model, slots: int = 1) -> HlsSession:
    """Open a project's zip; the first time on a host this compiles it, for some seconds.

    Raises Corrupt for a file that is no project, and MissingDevice without a C++ compiler.
    """
    return HlsSession(hls.read_project(path), hls.emulator(path), model)


def device() -> str:
    """The C++ runs on the CPU."""
    return "cpu"


def check() -> None:
    """Raise MissingDevice without a C++ compiler."""
    native.compiler()
