"""Runs an ONNX file through ONNX Runtime on the CPU, one thread a session."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime as ort

from model_repo.errors import BadInput, Corrupt, Expired, Unavailable
from model_repo.records import Model
from model_repo.tensors import Array
from model_repo.watchdog import WATCHDOG

LIBRARIES = ("onnxruntime",)
COMPILES_SIZES = False
_BFLOAT16 = 16  # onnx.TensorProto.BFLOAT16
_FATAL_ONLY = 4


class OnnxSession:
    """One ONNX Runtime session; a lone thread computes, so CPU time is device time."""

    def __init__(self, session: ort.InferenceSession, model: Model) -> None:
        self._session = session
        self._names = [spec.name for spec in model.outputs]
        self._strings = {s.name for s in (*model.inputs, *model.outputs) if s.datatype == "BYTES"}
        self._has_bf16 = any(s.datatype == "BF16" for s in (*model.inputs, *model.outputs))

    def run(
        self, inputs: Mapping[str, Array], limit_s: float | None = None
    ) -> tuple[dict[str, Array], int]:
        start = time.thread_time_ns()
        feeds: Mapping[str, Any] = inputs
        if self._strings:
            feeds = {n: _to_text(a, n) if n in self._strings else a for n, a in inputs.items()}
        try:
            values = self._compute(feeds, limit_s)
        except Exception as error:  # ONNX Runtime's errors share no parent but Exception
            raise _translated(error, limit_s) from error
        outputs = dict(zip(self._names, values, strict=True))
        return outputs, time.thread_time_ns() - start

    def _compute(self, feeds: Mapping[str, Any], limit_s: float | None) -> list[Array]:
        if limit_s is None:
            return self._call(feeds, None)
        options = ort.RunOptions()
        with WATCHDOG.limit(limit_s, partial(setattr, options, "terminate", True)):
            return self._call(feeds, options)

    def _call(self, feeds: Mapping[str, Any], options: ort.RunOptions | None) -> list[Array]:
        if not self._has_bf16:
            values: list[Array] = self._session.run(self._names, feeds, options)
            return values
        # ONNX Runtime's NumPy bridge knows no bfloat16: hand over and read back raw 16-bit words.
        # They are not copied: `whole` keeps them alive and in one piece until the run has ended.
        whole = {n: np.ascontiguousarray(a).reshape(a.shape) for n, a in feeds.items()}
        handles = {name: _to_ort(array) for name, array in whole.items()}
        return [
            _from_ort(v) for v in self._session.run_with_ort_values(self._names, handles, options)
        ]

    def close(self) -> None:
        """The session's memory goes with the last reference to it."""
        del self._session


def _to_text(array: Array, tensor: str) -> Array:
    # Given bytes, ONNX Runtime stores their repr without a word.
    try:
        text = [e.decode() if isinstance(e, bytes) else str(e) for e in array.ravel()]
    except UnicodeDecodeError as error:
        raise BadInput(f"tensor {tensor!r} holds a string that is not UTF-8") from error
    return np.array(text, dtype=object).reshape(array.shape)


def _to_ort(array: Array) -> ort.OrtValue:
    if array.dtype == ml_dtypes.bfloat16:
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), _BFLOAT16)
    return ort.OrtValue.ortvalue_from_numpy(array)


def _from_ort(value: ort.OrtValue) -> Array:
    if value.data_type() != "tensor(bfloat16)":
        array: Array = value.numpy()
        return array
    shape = value.shape()
    words: Any = (ctypes.c_uint16 * int(np.prod(shape))).from_address(value.data_ptr())
    array = np.array(words, np.uint16).view(ml_dtypes.bfloat16).reshape(shape)
    return array


def _translated(error: Exception, limit_s: float | None) -> Exception:
    reason = " ".join(str(error).split())
    if isinstance(error, BadInput):
        return error
    if limit_s is not None and "terminate flag" in reason:
        return Expired(f"the run took longer than {limit_s} s")
    if "allocat" in reason.lower():
        return Unavailable(f"the runtime is out of memory: {reason}")
    return BadInput(f"the model refused these inputs: {reason}")


def open_session(path: Path, model: Model, slots: int = 1) -> OnnxSession:
    """Open an ONNX file with one thread a run and every graph optimisation on.

    Raises BadInput for a model with both BF16 and BYTES tensors.
    """
    if {"BF16", "BYTES"} <= {spec.datatype for spec in (*model.inputs, *model.outputs)}:
        raise BadInput(
            f"{model.name}/{model.version} has both BF16 and BYTES tensors, which ONNX Runtime's "
            "Python bridge cannot carry in one run: make the BF16 ones FP32 in the graph"
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # What it would log of a refused run is in the error that it raises.
    options.log_severity_level = _FATAL_ONLY
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no parent but Exception
        reason = " ".join(str(error).split())
        raise Corrupt(f"{path} is not a usable ONNX file: {reason}") from error
    return OnnxSession(session, model)


def device() -> str:
    """CPUs."""
    return "cpu"


def check() -> None:
    """ONNX Runtime is a dependency of the base install."""
