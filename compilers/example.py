"""One real request as JSON, shelved beside the signature: for people to try, and to time with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from compilers.datasets import Data
from compilers.profiling import calls
from model_repo.errors import BadInput, Corrupt
from model_repo.records import Model
from model_repo.tensors import Array, check, datatype_of, dtype_of

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


def read(path: Path, model: Model) -> Data:
    """The request at `path` as data: its rows, or one whole call if the model does not batch.

    Raises Corrupt if it is no request that the model takes.
    """
    try:
        tensors = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])["inputs"]
        given = {tensor["name"]: _array(tensor) for tensor in tensors}
        for spec in model.inputs:
            check(spec, datatype_of(given[spec.name]), given[spec.name].shape)
    except (OSError, msgspec.MsgspecError, BadInput, KeyError, TypeError, ValueError) as error:
        raise Corrupt(f"{path} is no request that {model.name} takes: {error!r}") from error
    if not model.batches:
        given = {name: array[np.newaxis] for name, array in given.items()}
    return Data(given)


def _array(tensor: dict[str, Any]) -> Array:
    return np.array(tensor["data"], dtype_of(tensor["datatype"], tensor["name"])).reshape(
        tensor["shape"]
    )
