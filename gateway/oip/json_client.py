"""The client's side of OIP over HTTP: write a request and read an answer, tensors in binary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from model_repo.errors import BadInput
from model_repo.tensors import Array, datatype_of, from_bytes, to_bytes


def encode(
    inputs: Mapping[str, Array],
    parameters: Mapping[str, object],
    outputs: Sequence[str] = (),
    request_id: str = "",
) -> tuple[int, bytes]:
    """(length of the JSON, body) of a request that asks for binary outputs; () asks for all."""
    tensors, raw = [], []
    for name, array in inputs.items():
        data = to_bytes(array)
        raw.append(data)
        tensors.append(
            {
                "name": name,
                "datatype": datatype_of(array),
                "shape": list(array.shape),
                "parameters": {"binary_data_size": len(data)},
            }
        )
    document: dict[str, Any] = {"id": request_id, "inputs": tensors}
    document["parameters"] = {**parameters, "binary_data_output": True}
    if outputs:
        document["outputs"] = [
            {"name": name, "parameters": {"binary_data": True}} for name in outputs
        ]
    text = msgspec.json.encode(document)
    return len(text), b"".join([text, *raw])


def decode(json_length: int | None, body: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """(the JSON document, outputs by name); raises BadInput when it is no such answer."""
    try:
        document = msgspec.json.decode(body[:json_length], type=dict)
        outputs, at = {}, json_length or len(body)
        for tensor in document["outputs"]:
            size = tensor.get("parameters", {}).get("binary_data_size", 0)
            outputs[tensor["name"]] = from_bytes(
                body[at : at + size], tensor["datatype"], tensor["shape"], tensor["name"]
            )
            at += size
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        raise BadInput(f"the answer is not in the Open Inference Protocol: {error!r}") from error
    return document, outputs
