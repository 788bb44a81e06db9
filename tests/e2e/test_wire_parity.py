"""The same call over HTTP JSON, HTTP binary, gRPC typed and gRPC raw: the same answer or error."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
from gateway_process import Gateway
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from gateway.errors import CODES
from model_repo.tensors import DTYPES, Array, datatype_of, from_bytes, to_bytes

FIELDS = {
    "FP32": "fp32_contents", "FP64": "fp64_contents", "INT8": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT64": "uint64_contents",
    "BOOL": "bool_contents", "BYTES": "bytes_contents",
}  # fmt: skip
NAMES = dict(CODES.values())
Outcome = tuple[str, Any]
"""(gRPC name of the status, outputs by name or the error's text)"""


def words(*texts: bytes) -> Array:
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array


def call(**more: Any) -> dict[str, Any]:
    x = np.array([[1, 2, 3, 4], [0, 0, 0, 1]], np.float32)
    return {
        "model": "linear",
        "version": "",
        "inputs": {"x": x},
        "outputs": [],
        "parameters": {},
        **more,
    }


def over_http(up: Gateway, asked: dict[str, Any], is_binary: bool) -> Outcome:
    inputs, tail = [], b""
    for name, array in asked["inputs"].items():
        tensor = {"name": name, "shape": list(array.shape), "datatype": datatype_of(array)}
        if is_binary:
            raw = to_bytes(array)
            tensor["parameters"] = {"binary_data_size": len(raw)}
            tail += raw
        else:
            flat = array.ravel().tolist()
            tensor["data"] = [e.decode() if isinstance(e, bytes) else e for e in flat]
        inputs.append(tensor)
    parameters = {**asked["parameters"], "binary_data_output": is_binary}
    document: dict[str, Any] = {"inputs": inputs, "parameters": parameters}
    if asked["outputs"]:
        binary = {"binary_data": is_binary}
        document["outputs"] = [{"name": n, "parameters": binary} for n in asked["outputs"]]
    text = json.dumps(document).encode()
    version = f"/versions/{asked['version']}" if asked["version"] else ""
    path = f"/v2/models/{asked['model']}{version}/infer"
    headers = {"Inference_Header_Content_Length": str(len(text))} if is_binary else {}
    status, known, body = up.ask("POST", path, text + tail, **headers)
    if status != 200:
        return NAMES[status], json.loads(body)["error"]
    length = int(known.get("inference-header-content-length", len(body)))
    outputs, at = {}, length
    for tensor in json.loads(body[:length])["outputs"]:
        size = tensor.get("parameters", {}).get("binary_data_size")
        if size is None:
            dtype = DTYPES[tensor["datatype"]]
            flat = [e.encode() if isinstance(e, str) else e for e in tensor["data"]]
            outputs[tensor["name"]] = np.array(flat, dtype).reshape(tensor["shape"])
        else:
            raw = body[at : at + size]
            outputs[tensor["name"]] = from_bytes(raw, tensor["datatype"], tensor["shape"], "")
            at += size
    assert at == len(body)
    return "OK", outputs


def over_grpc(up: Gateway, asked: dict[str, Any], is_raw: bool) -> Outcome:
    message = pb.ModelInferRequest(model_name=asked["model"], model_version=asked["version"])
    for name, array in asked["inputs"].items():
        datatype = datatype_of(array)
        tensor = message.inputs.add(name=name, datatype=datatype, shape=array.shape)
        if is_raw:
            message.raw_input_contents.append(to_bytes(array))
        else:
            getattr(tensor.contents, FIELDS[datatype]).extend(array.ravel().tolist())
    for name in asked["outputs"]:
        message.outputs.add(name=name)
    kinds = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
    for name, value in asked["parameters"].items():
        setattr(message.parameters[name], kinds[type(value)], value)
    with grpc.insecure_channel(f"127.0.0.1:{up.grpc}") as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        try:
            answer = stub.ModelInfer(message, timeout=60)
        except grpc.RpcError as error:
            return error.code().name, error.details()
    pairs = zip(answer.outputs, answer.raw_output_contents, strict=True)
    return "OK", {o.name: from_bytes(raw, o.datatype, list(o.shape), "") for o, raw in pairs}


WAYS: dict[str, Callable[[Gateway, dict[str, Any]], Outcome]] = {
    "http json": lambda up, asked: over_http(up, asked, False),
    "http binary": lambda up, asked: over_http(up, asked, True),
    "grpc typed": lambda up, asked: over_grpc(up, asked, False),
    "grpc raw": lambda up, asked: over_grpc(up, asked, True),
}
ECHO: dict[str, Array] = {
    "f": np.array([[1.5, -3.4028235e38]], np.float32),
    "d": np.array([[1e308, 5e-324]]),
    "i8": np.array([[-128, 127]], np.int8),
    "i64": np.array([[-(2**63), 2**53 + 1]]),
    "u8": np.array([[0, 255]], np.uint8),
    "u64": np.array([[2**64 - 1, 0]], np.uint64),
    "t": np.array([[True, False]]),
    "s": words("é".encode(), b"").reshape(1, 2),
}
HALVES: dict[str, Array] = {
    "h": np.array([[1.5, -2]], np.float16),
    "b": np.array([[1.5, -2]], DTYPES["BF16"]),
}


def test_a_real_model_answers_the_same_every_way(up: Gateway) -> None:
    answers = {name: way(up, call()) for name, way in WAYS.items()}
    for status, outputs in answers.values():
        assert status == "OK" and outputs["y"].shape == (2, 3)
        assert outputs["y"].tobytes() == answers["grpc raw"][1]["y"].tobytes()
        assert outputs["y"].sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("way", WAYS)
def test_every_datatype_comes_back_unbent(up: Gateway, way: str) -> None:
    status, outputs = WAYS[way](up, call(model="echo", inputs=ECHO))
    assert status == "OK", outputs
    for name, array in ECHO.items():
        seen = outputs[f"{name}_out"]
        assert seen.dtype == array.dtype and to_bytes(seen) == to_bytes(array)


def test_half_floats_travel_in_bytes(up: Gateway) -> None:
    for way in ("http binary", "grpc raw"):
        status, outputs = WAYS[way](up, call(model="half", inputs=HALVES))
        assert status == "OK", outputs
        for name, array in HALVES.items():
            seen = outputs[f"{name}_out"]
            assert seen.dtype == array.dtype and to_bytes(seen) == to_bytes(array)


@pytest.mark.parametrize(
    ("asked", "status", "sentence"),
    [
        (call(model="none"), "NOT_FOUND", "Request for unknown model: 'none'"),
        (call(version="9"), "NOT_FOUND", "version '9' is not found, available versions are 1"),
        (call(inputs={}), "INVALID_ARGUMENT", "input 'x' is missing"),
        (call(inputs={"z": np.ones((1, 4), np.float32)}), "INVALID_ARGUMENT", "'x' is missing"),
        (call(inputs={"x": np.ones((1, 5), np.float32)}), "INVALID_ARGUMENT", "[1, 5] was given"),
        (call(inputs={"x": np.ones(4, np.float32)}), "INVALID_ARGUMENT", "[4] was given"),
        (call(inputs={"x": np.ones((1, 4))}), "INVALID_ARGUMENT", "'x' is FP32, but FP64"),
        (call(inputs={"x": words(b"a")}), "INVALID_ARGUMENT", "'x' is FP32, but BYTES"),
        (call(outputs=["q"]), "INVALID_ARGUMENT", "output 'q' is unknown"),
        (call(outputs=["y", "y"]), "INVALID_ARGUMENT", "asked for twice"),
        (call(parameters={"variant": "none"}), "NOT_FOUND", "has no variant 'none'"),
        (call(parameters={"variant": 1}), "INVALID_ARGUMENT", "variant is 1"),
        (call(parameters={"slo_latency_ms": -5.0}), "INVALID_ARGUMENT", "slo_latency_ms is -5.0"),
        (call(parameters={"slo_latency_ms": "soon"}), "INVALID_ARGUMENT", "is 'soon'"),
        (call(parameters={"slo_min_accuracy": 1.5}), "INVALID_ARGUMENT", "from 0 to 1"),
        (call(parameters={"timeout": -1}), "INVALID_ARGUMENT", "timeout is -1"),
        (call(parameters={"triton_x": 1}), "INVALID_ARGUMENT", "'triton_x' is reserved"),
        (call(model="toy", parameters={"slo_min_accuracy": 0.99}), "FAILED_PRECONDITION",
         "ref (accuracy: 0.9500 at its low end is under 0.99)"),
        (call(model="toy", parameters={"slo_max_cost_usd": 1e-12}), "FAILED_PRECONDITION",
         "low (cost: "),
        (call(model="slow", parameters={"timeout": 1000}), "FAILED_PRECONDITION",
         "ref (latency: 500.000 ms forecast"),
        (call(model="slow", parameters={"timeout": 1000, "variant": "ref"}),
         "DEADLINE_EXCEEDED", "deadline would pass"),
    ],
)  # fmt: skip
def test_errors_are_the_same_every_way(
    up: Gateway, asked: dict[str, Any], status: str, sentence: str
) -> None:
    if asked["model"] == "slow" or asked["model"] == "toy":
        asked["inputs"] = {"x": np.zeros((1, 4), np.float32)}
    answers = {name: way(up, asked) for name, way in WAYS.items()}
    for seen, text in answers.values():
        assert seen == status and sentence in text
    if "latency" not in sentence:  # what is left of a deadline differs from call to call
        assert len(set(answers.values())) == 1, answers


def test_rows_of_a_string_that_is_no_text_are_the_callers_mistake_every_way(up: Gateway) -> None:
    inputs = {**ECHO, "s": words(b"\xff", b"").reshape(1, 2)}
    answers = {
        WAYS[way](up, call(model="echo", inputs=inputs)) for way in ("http binary", "grpc raw")
    }
    ((status, text),) = answers
    assert status == "INVALID_ARGUMENT" and "'s' holds a string that is not UTF-8" in text


def test_no_rows_are_answered_the_same_every_way(up: Gateway) -> None:
    for way in WAYS.values():
        status, outputs = way(up, call(inputs={"x": np.zeros((0, 4), np.float32)}))
        assert status == "OK" and outputs["y"].shape == (0, 3)
