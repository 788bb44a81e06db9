"""Runs a variant that was just opened, before a caller waits for it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np

from model_repo.errors import BadInput
from model_repo.records import Model, TensorSpec
from model_repo.runtime import Session
from model_repo.tensors import Array, dtype_of

MOST_S = 1.0


def warm_up(session: Session, model: Model, largest: int, slots: int) -> None:
    """Run batches of 1 to `largest` in every slot at once, and stop after `MOST_S`.

    A run of a batch size that is new to it may compile for it: 5 ms in OpenVINO, whatever the
    model. Zeros are no valid input of every model, which is served all the same.
    """
    end = time.monotonic() + MOST_S
    sizes = range(1, largest + 1) if model.batches else range(1, 2)

    def run_all() -> None:
        with suppress(BadInput):
            for size in sizes:
                session.run({spec.name: _zeros(spec, size) for spec in model.inputs})
                if time.monotonic() > end:
                    break

    with ThreadPoolExecutor(slots) as pool:
        runs = [pool.submit(run_all) for _ in range(slots)]
    for run in runs:
        run.result()


def _zeros(spec: TensorSpec, rows: int) -> Array:
    sizes = [1 if size < 0 else size for size in spec.shape]
    if spec.shape and spec.shape[0] < 0:
        sizes[0] = rows
    if spec.datatype == "BYTES":
        return np.full(sizes, b"0", dtype=object)
    return np.zeros(sizes, dtype_of(spec.datatype, ""))
