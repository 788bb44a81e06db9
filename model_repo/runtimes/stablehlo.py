"""Runs one StableHLO program, as jax.export writes it, on a TPU, a GPU or the CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

from model_repo import jax_loading
from model_repo.errors import BadInput, Corrupt, Expired, Unavailable, in_one_line
from model_repo.jax_loading import load_jax
from model_repo.records import Model, TensorSpec
from model_repo.tensors import Array, dtype_of

LIBRARIES = ("jax", "jaxlib")
COMPILES_SIZES = True
NARROW = {"INT64": np.dtype(np.int32), "UINT64": np.dtype(np.uint32)}
"""A TPU counts in 32 bits, so programs do."""
_LOOP = b"while_v"
"""What the byte code of a program with a loop holds."""


class StablehloSession:
    """One program, compiled anew for each batch size that it meets; runs do not wait for others.

    On a CPU the calling thread computes, so CPU time is device time; elsewhere wall time is.
    """

    def __init__(self, call: Callable[..., Any], model: Model, has_loops: bool) -> None:
        self._jax = load_jax()
        self._call: Callable[..., Any] | None = call
        self._inputs = {spec.name: spec for spec in model.inputs}
        self._outputs = {spec.name: dtype_of(spec.datatype, spec.name) for spec in model.outputs}
        self._empty = {spec.name: spec.shape[1:] for spec in model.outputs}
        self._has_loops = has_loops
        self._seen: set[tuple[Any, ...]] = set()
        self._clock = time.thread_time_ns if device() == "cpu" else time.monotonic_ns

    def run(
        self, inputs: Mapping[str, Array], limit_s: float | None = None
    ) -> tuple[dict[str, Array], int]:
        start = self._clock()
        if inputs.keys() != self._inputs.keys():
            raise _refused(f"it takes {list(self._inputs)}, and {list(inputs)} were given")
        given = {name: _checked(inputs[name], spec) for name, spec in self._inputs.items()}
        if any(not array.shape[0] for array in given.values() if array.ndim):
            return self._nothing(), self._clock() - start
        shapes = tuple(array.shape for array in given.values())
        # Without loops, what has these shapes takes as long as what had them before.
        if limit_s is None or not (self._has_loops or shapes not in self._seen):
            return self._compute(given), self._clock() - start
        found = self._run_watched(given, limit_s)
        self._seen.add(shapes)
        return found

    def _compute(self, given: Mapping[str, Array]) -> dict[str, Array]:
        assert self._call, "a session that was closed is not used again"
        try:
            # What is not there yet is waited for, and then computed with, by another thread.
            there = self._jax.block_until_ready(self._jax.device_put(given))
            values = self._call(there)
            return {name: np.asarray(values[name], dt) for name, dt in self._outputs.items()}
        except Exception as error:  # XLA's and jax's errors share no parent but Exception
            raise _translated(error) from error

    def _run_watched(
        self, given: Mapping[str, Array], limit_s: float
    ) -> tuple[dict[str, Array], int]:
        """A run, and the compilation before it, in a thread: it cannot be stopped, only left."""
        start = time.monotonic_ns()
        found: list[dict[str, Array]] = []
        failed: list[Exception] = []

        def compute() -> None:
            try:
                found.append(self._compute(given))
            except Exception as error:  # raised again by whoever waits
                failed.append(error)

        thread = Thread(target=compute, name="stablehlo", daemon=True)
        thread.start()
        thread.join(limit_s)
        if failed:
            raise failed[0]
        if not found:
            raise Expired(f"the run took longer than {limit_s} s")
        return found[0], time.monotonic_ns() - start

    def _nothing(self) -> dict[str, Array]:
        """The answer to no rows: a program's free axis stands for 1 and more."""
        return {name: np.zeros((0, *self._empty[name]), dt) for name, dt in self._outputs.items()}

    def close(self) -> None:
        """The memory goes with the last reference to it."""
        self._call = None


def _checked(array: Array, spec: TensorSpec) -> Array:
    """The array as the program takes it; jax itself would convert without a word."""
    if array.dtype != dtype_of(spec.datatype, spec.name):
        raise _refused(f"tensor {spec.name!r} is {spec.datatype}, and {array.dtype} was given")
    is_fit = len(array.shape) == len(spec.shape) and all(
        wanted in (-1, size) for size, wanted in zip(array.shape, spec.shape, strict=True)
    )
    if not is_fit:
        raise _refused(
            f"tensor {spec.name!r} has the shape {list(spec.shape)}, and {list(array.shape)} was "
            "given"
        )
    narrow = NARROW.get(spec.datatype)
    if narrow is None:
        return array
    bounds = np.iinfo(narrow)
    if array.size and not (array.max() <= bounds.max and array.min() >= bounds.min):
        raise _refused(
            f"tensor {spec.name!r} holds a number that takes more than 32 bits, and a TPU counts "
            "in 32: give smaller ones, or ask for a variant on ONNX Runtime"
        )
    return array.astype(narrow)


def _refused(reason: str) -> BadInput:
    return BadInput(f"the model refused these inputs: {reason}")


def _translated(error: Exception) -> Exception:
    reason = " ".join(str(error).split())[:500]
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in reason:
        return Unavailable(f"the runtime is out of memory: {reason}")
    return _refused(reason)


def open_session(path: Path, model: Model, slots: int = 1) -> StablehloSession:
    """Open the program, whatever the number of slots: callers share what is compiled.

    Raises BadInput for tensors of strings, and Corrupt for what is no program of this model or
    was not compiled for a processor that is here.
    """
    for spec in (*model.inputs, *model.outputs):
        if spec.datatype == "BYTES":
            raise BadInput(f"tensor {spec.name!r} holds strings, which StableHLO has none of")
    jax = load_jax()
    blob = path.read_bytes()
    try:
        program = jax.export.deserialize(bytearray(blob))
        takes = set(program.in_tree.unflatten(program.in_avals)[0][0])
        gives = set(program.out_tree.unflatten(program.out_avals))
    except Exception as error:  # flatbuffers' and jax's errors share no parent but Exception
        raise Corrupt(
            f"{path} is not usable in jax {jax.__version__}: {in_one_line(error)}"
        ) from error
    wanted = {spec.name for spec in model.inputs}, {spec.name for spec in model.outputs}
    if (takes, gives) != wanted:
        raise Corrupt(
            f"{path} takes {sorted(takes)} and gives {sorted(gives)}, which is not what "
            f"{model.name}/{model.version} does: compile the variant again"
        )
    if program.platforms and jax.default_backend() not in (*program.platforms, "gpu"):
        raise Corrupt(f"{path} is for {', '.join(program.platforms)}: compile the variant again")
    return StablehloSession(jax.jit(program.call), model, _LOOP in program.mlir_module_serialized)


def device() -> str:
    """Where this process computes: "tpu", "gpu" or "cpu"."""
    backend: str = load_jax().default_backend()
    return backend if backend in ("tpu", "gpu") else "cpu"


def check() -> None:
    """Raise MissingExtra unless jax is installed: without a TPU or a GPU, the CPU computes."""
    jax_loading.check("running StableHLO")
