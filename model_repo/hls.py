"""What the zip of an HLS project says of itself, and its C++ built and run on this host."""

from __future__ import annotations

import ctypes
import hashlib
import json
import shutil
import zipfile
from functools import partial
from math import prod
from pathlib import Path

import msgspec
import numpy as np

from model_repo import native
from model_repo.errors import Corrupt, Expired
from model_repo.rtl import Fraction
from model_repo.tensors import Array

FACTS, NAME, WEIGHTS, LIBRARY = "project.json", "network", "firmware/weights", "emulate.so"
Image = tuple[int, int, int]
HARNESS = """
#include <chrono>
#include "firmware/{name}.h"

static void answer(const double *row, double *found) {{
    thread_local input_t x[{inputs}];
    thread_local result_t y[{outputs}];
    for (unsigned i = 0; i < {inputs}; ++i) x[i] = row[i];
    {name}(x, y);
    for (unsigned i = 0; i < {outputs}; ++i) found[i] = y[i].to_double();
}}

// Rows of numbers as they are typed, one after the other; 1 if `limit_s` ran out before.
extern "C" __attribute__((visibility("default"))) int emulate(
    const double *given, double *found, uint64_t rows, double limit_s) {{
    using Clock = std::chrono::steady_clock;
    const auto start = Clock::now();
    for (uint64_t row = 0; row < rows; ++row) {{
        answer(given + {inputs} * row, found + {outputs} * row);
        if (limit_s > 0 && std::chrono::duration<double>(Clock::now() - start).count() > limit_s)
            return 1;
    }}
    return 0;
}}
"""


class Loop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A layer as it is run: at each of its `places`, `inputs` x `outputs` products, `reuse_factor`
    of them by one multiplier, one after the other. weight_bits: of all it keeps; none, and no
    products, of a layer without weights."""

    name: str
    places: int = 1
    inputs: int = 0
    outputs: int = 0
    reuse_factor: int = 1
    weight_bits: int = 0


class Project(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """shape, answers: channels, height and width of a row and of its answer, which the C++ takes
    and gives channels last. format: what every number of the input is rounded to."""

    input_name: str
    output_name: str
    format: Fraction
    shape: Image
    answers: Image
    part: str
    clock_mhz: float
    loops: tuple[Loop, ...]


class Emulator:
    """A project's C++ in this process; `run` may be called from several threads at once."""

    def __init__(self, library: Path, project: Project) -> None:
        self._call = ctypes.CDLL(str(library)).emulate
        self._call.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_uint64, ctypes.c_double]
        self._project = project
        # It reads its weights when it first runs, which no two threads may do at once.
        self.run(np.zeros((1, prod(project.shape))))

    def run(self, rows: Array, limit_s: float | None = None) -> Array:
        """The answers, float64 [n, values], to rounded rows [n, values]; raises Expired."""
        shape, answers = self._project.shape, self._project.answers
        last = rows.reshape(-1, *shape).transpose(0, 2, 3, 1)
        given = np.ascontiguousarray(last, np.float64)
        found = np.empty((len(rows), *answers[1:], answers[0]))
        if self._call(given.ctypes.data, found.ctypes.data, len(rows), limit_s or 0.0):
            raise Expired(f"the run took longer than {limit_s} s")
        return found.transpose(0, 3, 1, 2).reshape(len(rows), -1)


def read_project(path: Path) -> Project:
    """The facts in a zip; raises Corrupt if there are none."""
    try:
        with zipfile.ZipFile(path) as file:
            return msgspec.json.decode(file.read(FACTS), type=Project)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, msgspec.MsgspecError) as error:
        raise Corrupt(f"{path} is no HLS project that can be run: {error}") from error


def emulator(path: Path) -> Emulator:
    """The emulator of a project, built if this host has not built it before.

    Raises Corrupt for another file, MissingDevice without a C++ compiler, and BadInput if it does
    not compile.
    """
    project = read_project(path)
    native.compiler()
    harness = HARNESS.format(name=NAME, inputs=prod(project.shape), outputs=prod(project.answers))
    whole = hashlib.sha256(path.read_bytes() + harness.encode()).hexdigest()
    place = native.cache_folder() / f"{whole}.hls"
    if not _is_whole(place, project):
        shutil.rmtree(place, ignore_errors=True)
        native.keep(place, partial(_build, path, harness, place))
    return Emulator(place / LIBRARY, project)


def _is_whole(place: Path, project: Project) -> bool:
    """Whether nobody has tidied up in it: without its weights the C++ would end this process."""
    weights = 2 * sum(1 for loop in project.loops if loop.inputs)
    return (place / LIBRARY).exists() and len(list(place.glob("weights/*.txt"))) == weights


def _build(path: Path, harness: str, place: Path, folder: Path) -> None:
    source, made = folder / "source", folder / place.name
    with zipfile.ZipFile(path) as file:
        file.extractall(source)
    (source / "harness.cpp").write_text(harness)
    made.mkdir()
    # -O1: at -O0 a row takes thirty times as long; as literals the weights take minutes.
    command = [
        native.compiler(), "-std=c++17", "-O1", "-fPIC", "-shared", "-w",
        # Two projects in one process name their parts alike.
        "-fvisibility=hidden", "-I.", "-Ifirmware/ap_types",
        f"-DWEIGHTS_DIR={json.dumps(str(place / 'weights'))}", f"firmware/{NAME}.cpp",
        "harness.cpp", "-o", str(made / LIBRARY),
    ]  # fmt: skip
    native.call(command, source, "the C++ compiler")
    (made / "weights").mkdir()
    for each in sorted((source / WEIGHTS).glob("*.txt")):
        each.rename(made / "weights" / each.name)
