"""One real request as JSON, shelved beside the signature for whoever tries the model first."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from compilers import calls
from compilers.datasets import Data
from model_repo.records import Model
from model_repo.tensors import Array, datatype_of

NOT_IN_JSON = ("FP16", "BF16")


def request(model: Model, data: Data) -> bytes | None:
    """The first call of `data` in the Open Inference Protocol; None if JSON cannot carry it."""
    if any(spec.datatype in NOT_IN_JSON for spec in model.inputs):
        return None
    rows = np.arange(calls.rows_per_call(model, data) or 1)
    inputs = [_tensor(name, array) for name, array in calls.feed(model, data, rows).items()]
    return msgspec.json.encode({"inputs": inputs})


def _tensor(name: str, array: Array) -> dict[str, Any]:
    values = [
        element.decode(errors="replace") if isinstance(element, bytes) else element
        for element in array.ravel().tolist()
    ]
    shape = list(array.shape)
    return {"name": name, "datatype": datatype_of(array), "shape": shape, "data": values}
