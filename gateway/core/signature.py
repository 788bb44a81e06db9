"""Does a request fit its model: names, datatypes, shapes, and what may be batched with it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from gateway.core.request import InferRequest
from model_repo.errors import BadInput
from model_repo.records import Model, TensorSpec
from model_repo.tensors import Array, check, datatype_of, dtype_of


def rows(model: Model, request: InferRequest) -> int:
    """The request's rows (1 for a model that does not batch).

    Raises BadInput naming the tensor that is unknown, missing or does not fit.
    """
    inputs = request.inputs
    for spec in model.inputs:
        array = inputs.get(spec.name)
        if array is None:
            raise BadInput(f"the input {spec.name!r} is missing: {_takes(model)}")
        check(spec, datatype_of(array), array.shape)
    if len(inputs) != len(model.inputs):
        unknown = sorted(inputs.keys() - {spec.name for spec in model.inputs})
        raise BadInput(f"the input {unknown[0]!r} is unknown: {_takes(model)}")
    if request.outputs:
        _check_outputs(model, [ask.name for ask in request.outputs])
    if not model.batches:
        return 1
    counts = {array.shape[0] for array in inputs.values()}
    if len(counts) > 1:
        raise BadInput(f"the inputs have different batch sizes: {sorted(counts)}")
    return int(counts.pop())


def _takes(model: Model) -> str:
    return f"model {model.name!r} takes {', '.join(spec.name for spec in model.inputs)}"


def _check_outputs(model: Model, names: Sequence[str]) -> None:
    known = [spec.name for spec in model.outputs]
    for name in names:
        if name not in known:
            raise BadInput(
                f"the output {name!r} is unknown: model {model.name!r} gives {', '.join(known)}"
            )
    if len(set(names)) != len(names):
        raise BadInput(f"an output is asked for twice: {', '.join(names)}")


def merge_key(model: Model, request: InferRequest) -> Hashable:
    """Equal for requests whose rows may be stacked: like shapes but for the batch; None if never.

    Rows are never padded to fit.
    """
    if not model.batches:
        return None
    return tuple(request.inputs[spec.name].shape[1:] for spec in model.inputs)


def is_empty(request: InferRequest, count: int) -> bool:
    """Whether there is nothing to compute; a runtime may abort on a batch of no rows."""
    return count == 0 or any(array.size == 0 for array in request.inputs.values())


def empty_outputs(model: Model, count: int) -> dict[str, Array]:
    """The outputs of a request with no rows; raises BadInput when their shape is not known.

    That is so as well where there are `count` rows of nothing.
    """
    return {spec.name: _empty(spec, model, count) for spec in model.outputs}


def _empty(spec: TensorSpec, model: Model, count: int) -> Array:
    if count or not model.batches or -1 in spec.shape[1:]:
        raise BadInput(
            f"an empty input cannot be run, and the shape of {spec.name!r} depends on it: "
            "send at least one row"
        )
    return np.empty((0, *spec.shape[1:]), dtype_of(spec.datatype, spec.name))
