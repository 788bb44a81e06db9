"""Answers zeros after a set time: a runtime that needs no model, for tests and overhead benches.

The artifact is JSON: `{"device_s": 0.001, "device_s_per_item": 0.0001, "fill": 0}`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from model_repo.errors import Corrupt, Expired
from model_repo.records import Model
from model_repo.tensors import Array, dtype_of

LIBRARIES = ()
COMPILES_SIZES = False


class Times(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds a batch takes: a fixed part and a part for each item; `fill` is every output."""

    device_s: float = 0.0
    device_s_per_item: float = 0.0
    fill: float = 0.0


class NullSession:
    """Sleeps as long as a batch would compute, and charges that time."""

    def __init__(self, times: Times, model: Model) -> None:
        self._times = times
        self._model = model

    def run(
        self, inputs: Mapping[str, Array], limit_s: float | None = None
    ) -> tuple[dict[str, Array], int]:
        first = next(iter(inputs.values()))
        items = first.shape[0] if self._model.batches else 1
        seconds = self._times.device_s + items * self._times.device_s_per_item
        if limit_s is not None and seconds > limit_s:
            time.sleep(limit_s)
            raise Expired(f"the run took longer than {limit_s} s")
        if seconds:
            time.sleep(seconds)
        return {
            spec.name: self._zeros(spec.datatype, spec.shape, items, spec.name)
            for spec in self._model.outputs
        }, int(seconds * 1e9)

    def _zeros(self, datatype: str, shape: tuple[int, ...], items: int, name: str) -> Array:
        sizes = [1 if size < 0 else size for size in shape]
        if self._model.batches:
            sizes[0] = items
        fill = str(self._times.fill) if datatype == "BYTES" else self._times.fill
        return np.full(sizes, fill, dtype=dtype_of(datatype, name))

    def close(self) -> None:
        """Nothing is held."""


def open_session(path: Path, model: Model, slots: int = 1) -> NullSession:
    """Read the times at `path`."""
    try:
        return NullSession(msgspec.json.decode(path.read_bytes(), type=Times), model)
    except (OSError, msgspec.MsgspecError) as error:
        raise Corrupt(f"the null artifact {path} cannot be read: {error}") from error


def device() -> str:
    """CPUs."""
    return "cpu"


def check() -> None:
    """Needs nothing."""
