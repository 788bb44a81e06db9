"""OIP inference over gRPC: typed and raw contents, to and from our records."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2 as pb

from gateway.core.request import InferRequest, InferResponse
from gateway.oip import limits, slo, tensor_parameters
from gateway.oip.tensor_parameters import Memory
from model_repo.errors import BadInput
from model_repo.tensors import Array, datatype_of, dtype_of, element_count, from_bytes, to_bytes

_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def decode(
    message: Any,
    metadata: Mapping[str, str],
    received_s: float,
    remaining_s: float | None,
    memory: Memory,
) -> InferRequest:
    """Read a ModelInferRequest; `remaining_s` is the call's own deadline.

    Raises BadInput saying what is wrong and where.
    """
    inputs = _inputs(message, memory)
    outputs = [
        tensor_parameters.output(output.name, parameter_values(output.parameters), True)
        for output in message.outputs
    ]
    wishes = slo.read(parameter_values(message.parameters), metadata)
    timeout = min(wishes.timeout_s, math.inf if remaining_s is None else remaining_s)
    return InferRequest(
        model=message.model_name,
        version=message.model_version,
        inputs=inputs,
        received_s=received_s,
        deadline_s=received_s + timeout,
        slo=wishes.slo,
        id=message.id,
        outputs=tuple(outputs),
        binary_default=True,
        variant=wishes.variant,
        explain=wishes.explain,
    )


def _inputs(message: Any, memory: Memory) -> dict[str, Array]:
    raw, inputs = message.raw_input_contents, {}
    places = [
        tensor_parameters.place(parameter_values(t.parameters), t.name) for t in message.inputs
    ]
    wanted = places.count(None)
    if raw and len(raw) != wanted:
        raise BadInput(
            f"{wanted} inputs came with {len(raw)} raw_input_contents: "
            "give one for each that is not in shared memory, or none"
        )
    rest = iter(raw)
    for tensor, place in zip(message.inputs, places, strict=True):
        name, shape = tensor.name, list(tensor.shape)
        if name in inputs:
            raise BadInput(f"the input {name!r} is given twice")
        limits.check_shape(shape, name)
        if tensor.HasField("contents") and (raw or place):
            other = "it is in shared memory" if place else "raw_input_contents came"
            raise BadInput(f"the input {name!r} has contents, but {other} too: give one")
        if place:
            data = memory.read(place.region, place.offset, place.byte_size)
            inputs[name] = from_bytes(data, tensor.datatype, shape, name)
        elif raw:
            inputs[name] = from_bytes(next(rest), tensor.datatype, shape, name)
        else:
            inputs[name] = _typed(tensor, shape)
    return inputs


def parameter_values(message: Any) -> dict[str, object]:
    """A map of parameters of whatever kind, as plain values."""
    return {
        name: getattr(value, value.WhichOneof("parameter_choice") or "string_param")
        for name, value in message.items()
    }


def _typed(tensor: Any, shape: list[int]) -> Array:
    name, datatype = tensor.name, tensor.datatype
    dtype = dtype_of(datatype, name)
    count = element_count(shape, name)
    if datatype not in _CONTENTS:
        raise BadInput(f"the input {name!r} is {datatype}: send it in raw_input_contents")
    field = _CONTENTS[datatype]
    others = [each.name for each, _ in tensor.contents.ListFields() if each.name != field]
    if others:
        raise BadInput(f"the input {name!r} is {datatype}: use {field}, not {', '.join(others)}")
    values = getattr(tensor.contents, field)
    if len(values) != count:
        raise BadInput(
            f"the input {name!r} has the shape {shape}, but {len(values)} elements in {field}"
        )
    if datatype == "BYTES":
        array = np.empty(count, dtype=object)
        array[:] = list(values)
        return array.reshape(shape)
    try:
        return np.array(values, dtype).reshape(shape)
    except OverflowError as error:
        raise BadInput(f"the input {name!r} is {datatype}: {error}") from error


def encode(response: InferResponse, memory: Memory) -> Any:
    """A ModelInferResponse with raw contents, one for each output, empty for shared memory."""
    message = pb.ModelInferResponse(
        model_name=response.model, model_version=response.version, id=response.request.id
    )
    for name, value in response.parameters.items():
        _set(message.parameters[name], value)
    places = {ask.name: ask.place for ask in response.request.outputs}
    for name, array in response.outputs.items():
        output = message.outputs.add(name=name, datatype=datatype_of(array), shape=array.shape)
        place = places.get(name)
        if place:
            for key, value in tensor_parameters.put(array, place, name, memory).items():
                _set(output.parameters[key], value)
        message.raw_output_contents.append(b"" if place else to_bytes(array))
    return message


def _set(parameter: Any, value: bool | int | float | str) -> None:
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, int):
        parameter.int64_param = value
    elif isinstance(value, float):
        parameter.double_param = value
    else:
        parameter.string_param = value
