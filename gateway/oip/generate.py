"""The generate extension: a plain JSON object in, a plain JSON object out.

A key that is the name of an input is that input, any other a parameter of the request; a lone value
stands for a tensor of one element.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from gateway.core.request import InferRequest, InferResponse
from gateway.oip import json_data, slo
from model_repo.errors import BadInput
from model_repo.records import Model, TensorSpec
from model_repo.tensors import Array, datatype_of


def decode(
    model: Model, version: str, headers: Mapping[str, str], body: bytes, received_s: float
) -> InferRequest:
    """Read one request of one row; raises BadInput saying what is wrong and where."""
    try:
        document = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        document = json_data.loads_with_nan(body)
    except (UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"the request is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise BadInput("the request is not a JSON object")
    specs = {spec.name: spec for spec in model.inputs}
    # Triton's mapping lets parameters stand in an object of their own too.
    parameters = {name: value for name, value in document.items() if name not in specs}
    nested = parameters.pop("parameters", {})
    if not isinstance(nested, dict):
        raise BadInput(f"parameters is {nested!r}: give an object")
    request_id = parameters.pop("id", "")
    if not isinstance(request_id, str):
        raise BadInput(f"id is {request_id!r}: give a string")
    for name, value in parameters.items():
        if not isinstance(value, bool | int | float | str):
            raise BadInput(
                f"{name!r} is no input of model {model.name!r}, which takes {', '.join(specs)}; "
                "a parameter is a string, a number, true or false"
            )
    wishes = slo.read({**nested, **parameters}, headers)
    return InferRequest(
        model=model.name,
        version=version,
        inputs={
            name: _tensor(specs[name], value, model.batches)
            for name, value in document.items()
            if name in specs
        },
        received_s=received_s,
        deadline_s=received_s + wishes.timeout_s,
        slo=wishes.slo,
        id=request_id,
        variant=wishes.variant,
        explain=wishes.explain,
    )


def _tensor(spec: TensorSpec, value: object, batches: bool) -> Array:
    values = value if isinstance(value, list) else [value]
    sizes = spec.shape[1:] if batches else spec.shape
    shape = _shape(spec, values, sizes)
    return json_data.read_lenient(values, spec.datatype, [1] * batches + shape, spec.name)


def _shape(spec: TensorSpec, values: list[Any], sizes: tuple[int, ...]) -> list[int]:
    """The sizes of the input, the free one of them as long as what is given."""
    free = [axis for axis, size in enumerate(sizes) if size == -1]
    flat, count = values, len(values)
    while flat and isinstance(flat[0], list):
        flat = [each for part in flat if isinstance(part, list) for each in part]
        count = len(flat)
    if len(free) > 1:
        raise BadInput(
            f"the input {spec.name!r} has the shape {list(spec.shape)}: of more than one free "
            "axis a plain list does not tell the sizes; use infer"
        )
    fixed = math.prod(size for size in sizes if size != -1)
    return [count // max(1, fixed) if size == -1 else size for size in sizes]


def encode(response: InferResponse) -> bytes:
    """The answer as one JSON object; raises BadInput for an output that JSON cannot carry."""
    document: dict[str, Any] = {
        "model_name": response.model,
        "model_version": response.version,
        "parameters": response.parameters,
    }
    if response.request.id:
        document["id"] = response.request.id
    is_finite = True
    for name, array in response.outputs.items():
        values = json_data.write(array, datatype_of(array), name)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            is_finite = False
        document[name] = values[0] if len(values) == 1 else values
    return json_data.dumps(document, is_finite)
