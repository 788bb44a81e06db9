"""OIP inference over HTTP: JSON and the binary tensor extension, to and from our records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from msgspec import Raw, Struct

from gateway.core.request import Body, InferRequest, InferResponse, Part, Place
from gateway.oip import json_data, limits, slo, tensor_parameters
from gateway.oip.tensor_parameters import Memory
from model_repo.errors import BadInput
from model_repo.tensors import Array, datatype_of, from_bytes, to_buffer

JSON_LENGTH = "inference-header-content-length"
_MAX_DIGITS = 19


class WireInput(Struct):
    """One input as JSON has it; `data` stays text until its datatype is known."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: Raw = Raw()


class WireOutput(Struct):
    """One output asked for."""

    name: str
    parameters: dict[str, Any] = {}


class WireRequest(Struct):
    """The JSON of a request; keys we do not know are ignored, as the protocol has it."""

    inputs: list[WireInput]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[WireOutput] = []


_DECODER = msgspec.json.Decoder(WireRequest)


def decode(
    model: str,
    version: str,
    headers: Mapping[str, str],
    body: Body,
    received_s: float,
    memory: Memory,
) -> InferRequest:
    """Read one request. Raises BadInput saying what is wrong and where."""
    text, binary = _split(headers, body)
    lenient = None
    try:
        wire = _DECODER.decode(text)
    except msgspec.ValidationError as error:
        raise BadInput(f"the request does not fit the protocol: {error}") from error
    except (RecursionError, UnicodeDecodeError) as error:
        raise BadInput(f"the request is not valid JSON: {error}") from error
    except msgspec.DecodeError:
        # NaN and Infinity are accepted on the wire but not by the strict decoder.
        lenient = json_data.loads_with_nan(text)
        wire = _from_lenient(lenient)
    inputs, at = {}, 0
    for index, tensor in enumerate(wire.inputs):
        if tensor.name in inputs:
            raise BadInput(f"the input {tensor.name!r} is given twice")
        limits.check_shape(tensor.shape, tensor.name)
        size = tensor.parameters.get("binary_data_size") if tensor.parameters else None
        place = tensor.parameters and tensor_parameters.place(tensor.parameters, tensor.name)
        if place:
            inputs[tensor.name] = _placed_tensor(tensor, place, memory)
        elif size is not None:
            inputs[tensor.name], at = _binary_tensor(tensor, size, binary, at)
        elif lenient is not None:
            values = lenient["inputs"][index].get("data", [])
            inputs[tensor.name] = json_data.read_lenient(
                values, tensor.datatype, tensor.shape, tensor.name
            )
        else:
            inputs[tensor.name] = _json_tensor(tensor)
    if at != len(binary):
        raise BadInput(f"{len(binary) - at} bytes of binary data belong to no input")
    return _request(model, version, headers, wire, inputs, received_s)


def _split(headers: Mapping[str, str], body: Body) -> tuple[Body, memoryview]:
    length = headers.get(JSON_LENGTH)
    if length is None:
        return body, memoryview(b"")
    is_whole = length.isascii() and length.isdigit() and len(length) <= _MAX_DIGITS
    if not is_whole or int(length) > len(body):
        raise BadInput(
            f"Inference-Header-Content-Length is {length[:32]!r}: give the length of the JSON, "
            f"0 to {len(body)}"
        )
    return body[: int(length)], memoryview(body)[int(length) :]


def _from_lenient(document: Any) -> WireRequest:
    if not isinstance(document, dict) or not isinstance(document.get("inputs"), list):
        raise BadInput("the request is not a JSON object with a list of inputs")
    bare = [
        {k: v for k, v in each.items() if k != "data"} if isinstance(each, dict) else each
        for each in document["inputs"]
    ]
    try:
        wire = msgspec.convert({**document, "inputs": bare}, WireRequest)
        wire.id.encode()  # half a surrogate pair, which this reader lets in, cannot be answered
        return wire
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise BadInput(f"the request does not fit the protocol: {error}") from error


def _binary_tensor(
    tensor: WireInput, size: object, binary: memoryview, at: int
) -> tuple[Array, int]:
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(binary) - at:
        raise BadInput(
            f"the input {tensor.name!r} has binary_data_size {size!r}, but "
            f"{len(binary) - at} bytes of binary data are left for it"
        )
    if len(memoryview(tensor.data)):
        raise BadInput(f"the input {tensor.name!r} has both data and binary_data_size: give one")
    end = at + size
    return from_bytes(binary[at:end], tensor.datatype, tensor.shape, tensor.name), end


def _placed_tensor(tensor: WireInput, place: Place, memory: Memory) -> Array:
    if len(memoryview(tensor.data)) or "binary_data_size" in tensor.parameters:
        raise BadInput(f"the input {tensor.name!r} is in shared memory, but has data too: give one")
    data = memory.read(place.region, place.offset, place.byte_size)
    return from_bytes(data, tensor.datatype, tensor.shape, tensor.name)


def _json_tensor(tensor: WireInput) -> Array:
    data = memoryview(tensor.data)
    if not len(data):
        if 0 not in tensor.shape:
            raise BadInput(f"the input {tensor.name!r} has no data")
        return from_bytes(b"", tensor.datatype, tensor.shape, tensor.name)
    return json_data.read(data, tensor.datatype, tensor.shape, tensor.name)


def _request(
    model: str,
    version: str,
    headers: Mapping[str, str],
    wire: WireRequest,
    inputs: dict[str, Array],
    received_s: float,
) -> InferRequest:
    outputs = [
        tensor_parameters.output(o.name, o.parameters, o.parameters.get("binary_data") is True)
        for o in wire.outputs
    ]
    wishes = slo.read(wire.parameters, headers)
    return InferRequest(
        model=model,
        version=version,
        inputs=inputs,
        received_s=received_s,
        deadline_s=received_s + wishes.timeout_s,
        slo=wishes.slo,
        id=wire.id,
        outputs=tuple(outputs),
        binary_default=wire.parameters.get("binary_data_output") is True,
        variant=wishes.variant,
        explain=wishes.explain,
    )


def encode(response: InferResponse, memory: Memory) -> tuple[dict[str, str], list[Part]]:
    """(extra headers, body parts); raises BadInput for an output JSON cannot carry."""
    request, outputs = response.request, []
    parts: list[Part] = [b""]
    is_finite = True
    asked = {ask.name: ask for ask in request.outputs}
    for name, array in response.outputs.items():
        datatype = datatype_of(array)
        tensor: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(array.shape)}
        ask = asked.get(name)
        if ask and ask.place:
            tensor["parameters"] = tensor_parameters.put(array, ask.place, name, memory)
        elif ask.binary if ask else request.binary_default:
            raw = to_buffer(array)
            tensor["parameters"] = {"binary_data_size": len(raw)}
            parts.append(raw)
        else:
            tensor["data"] = json_data.write(array, datatype, name)
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                is_finite = False
        outputs.append(tensor)
    document: dict[str, Any] = {"model_name": response.model, "model_version": response.version}
    if request.id:
        document["id"] = request.id
    document["parameters"] = response.parameters
    document["outputs"] = outputs
    parts[0] = json_data.dumps(document, is_finite)
    if len(parts) == 1 or not any(parts[1:]):
        return {"content-type": "application/json"}, parts[:1]
    return {
        "content-type": "application/octet-stream",
        "inference-header-content-length": str(len(parts[0])),
    }, parts
