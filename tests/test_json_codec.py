"""OIP over HTTP: whole requests and answers, JSON and binary, sound and broken."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gateway.core.request import InferRequest, InferResponse, OutputAsk
from gateway.oip import json_codec
from gateway.oip.json_codec import JSON_LENGTH
from gateway.shared_memory import Regions
from model_repo.errors import BadInput, FareboxError
from model_repo.tensors import DTYPES, Array, datatype_of, to_bytes


def tensor(name: str = "x", **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": [2], "datatype": "FP32", "data": [1, 2], **more}


def decode(document: object, headers: dict[str, str] | None = None, tail: bytes = b"") -> Any:
    text = json.dumps(document).encode()
    known = {JSON_LENGTH: str(len(text))} if tail else {}
    return json_codec.decode("m", "", {**known, **(headers or {})}, text + tail, 100.0, Regions())


def binary(array: Array, name: str = "x") -> dict[str, Any]:
    raw = to_bytes(array)
    return {
        "name": name, "shape": list(array.shape), "datatype": datatype_of(array),
        "parameters": {"binary_data_size": len(raw)},
    }  # fmt: skip


def response(outputs: dict[str, Array], /, **more: Any) -> InferResponse:
    return InferResponse(InferRequest("m", "", {}, 0.0, **more), "m", "1", outputs, {"a": 1})


@st.composite
def arrays(draw: st.DrawFn) -> Array:
    datatype = draw(st.sampled_from(list(DTYPES)))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    count = int(np.prod(shape))
    if datatype == "BYTES":
        flat = np.empty(count, dtype=object)
        flat[:] = draw(st.lists(st.binary(max_size=5), min_size=count, max_size=count))
        return flat.reshape(shape)
    if datatype == "BOOL":
        return draw(hnp.arrays(np.bool_, shape))
    dtype = DTYPES[datatype]
    raw = draw(st.binary(min_size=count * dtype.itemsize, max_size=count * dtype.itemsize))
    return np.frombuffer(raw, dtype).reshape(shape)


@given(st.lists(arrays(), min_size=1, max_size=3))
def test_every_datatype_goes_there_and_back_in_binary(given_arrays: list[Array]) -> None:
    names = [f"t{i}" for i in range(len(given_arrays))]
    tensors = [binary(array, name) for name, array in zip(names, given_arrays, strict=True)]
    tail = b"".join(map(to_bytes, given_arrays))
    request = decode({"inputs": tensors}, tail=tail)
    assert list(request.inputs) == names
    for name, array in zip(names, given_arrays, strict=True):
        seen = request.inputs[name]
        assert seen.dtype == array.dtype and seen.shape == array.shape
        assert to_bytes(seen) == to_bytes(array)
    headers, parts = json_codec.encode(response(request.inputs, binary_default=True), Regions())
    assert b"".join(parts[1:]) == tail
    assert (JSON_LENGTH in headers) == bool(tail)
    if tail:
        assert int(headers[JSON_LENGTH]) == len(parts[0])
        assert headers["content-type"] == "application/octet-stream"
    listed = json.loads(parts[0])["outputs"]
    assert [each["shape"] for each in listed] == [list(a.shape) for a in given_arrays]
    sizes = [each["parameters"]["binary_data_size"] for each in listed]
    assert sizes == [len(to_bytes(array)) for array in given_arrays]


def test_json_and_binary_inputs_mix_in_any_order() -> None:
    a, b = np.arange(3, dtype=np.int16), np.array([b"\xff", b""], dtype=object)
    request = decode(
        {"inputs": [binary(a, "a"), tensor(), binary(b, "b")]}, tail=to_bytes(a) + to_bytes(b)
    )
    assert request.inputs["a"].tolist() == [0, 1, 2]
    assert request.inputs["x"].tolist() == [1.0, 2.0]
    assert request.inputs["b"].tolist() == [b"\xff", b""]


def test_what_a_request_says_is_kept() -> None:
    request = decode(
        {
            "id": "7",
            "inputs": [tensor()],
            "outputs": [{"name": "y", "parameters": {"binary_data": True}}, {"name": "z"}],
            "parameters": {"timeout": 2_000_000, "binary_data_output": True, "variant": "v"},
            "unknown": {"ignored": True},
        },
        {"x-slo-min-accuracy": "0.5", "content-type": "application/x-www-form-urlencoded"},
    )
    assert (request.id, request.variant, request.binary_default) == ("7", "v", True)
    assert request.outputs == (OutputAsk("y", True), OutputAsk("z", False))
    assert (request.received_s, request.deadline_s) == (100.0, 102.0)
    assert request.slo.min_accuracy == 0.5 and not request.explain
    assert decode({"inputs": [tensor()]}).deadline_s == math.inf


def test_nan_and_infinity_pass_both_ways() -> None:
    body = (
        b'{"id":"i","inputs":[{"name":"x","shape":[3],"datatype":"FP32","data":[NaN,1,-Infinity]}]}'
    )
    request = json_codec.decode("m", "", {}, body, 0.0, Regions())
    assert np.isnan(request.inputs["x"][0]) and request.inputs["x"][2] == -math.inf
    _, (text,) = json_codec.encode(response(request.inputs), Regions())
    assert b"NaN" in text and b"-Infinity" in text
    assert np.isnan(json.loads(text)["outputs"][0]["data"][0])


def test_beside_nan_large_integers_stay_whole() -> None:
    document = {
        "inputs": [tensor(data=[math.nan, 1]), tensor("i", datatype="INT64", data=[2**63 - 1, 0])]
    }
    assert decode(document).inputs["i"][0] == 2**63 - 1


def test_an_answer_in_json() -> None:
    outputs = {"y": np.array([[1, 2]], np.int64), "s": np.array(["é"], dtype=object)}
    headers, parts = json_codec.encode(response(outputs, id="7"), Regions())
    assert headers == {"content-type": "application/json"} and len(parts) == 1
    assert json.loads(parts[0]) == {
        "model_name": "m", "model_version": "1", "id": "7", "parameters": {"a": 1},
        "outputs": [
            {"name": "y", "datatype": "INT64", "shape": [1, 2], "data": [1, 2]},
            {"name": "s", "datatype": "BYTES", "shape": [1], "data": ["é"]},
        ],
    }  # fmt: skip
    assert "id" not in json.loads(json_codec.encode(response(outputs), Regions())[1][0])


def test_the_binary_default_counts_only_where_no_output_is_listed() -> None:
    outputs = {"y": np.ones(2, np.float32), "z": np.ones(1, np.float32)}
    asked = (OutputAsk("y", True), OutputAsk("z", False))
    _, parts = json_codec.encode(response(outputs, outputs=asked, binary_default=True), Regions())
    y, z = json.loads(parts[0])["outputs"]
    assert "data" not in y and z["data"] == [1.0] and len(parts) == 2


def test_an_answer_whose_binary_outputs_are_empty_is_plain_json() -> None:
    headers, parts = json_codec.encode(
        response({"y": np.ones((0, 2), np.float32)}, binary_default=True), Regions()
    )
    assert headers == {"content-type": "application/json"} and len(parts) == 1
    assert json.loads(parts[0])["outputs"][0]["parameters"] == {"binary_data_size": 0}


@pytest.mark.parametrize("dtype", [np.float16, DTYPES["BF16"]])
def test_an_output_json_cannot_carry_is_refused_by_name(dtype: Any) -> None:
    with pytest.raises(BadInput, match=r"output 'y'.*binary_data true"):
        json_codec.encode(response({"y": np.ones(1, dtype)}), Regions())


@pytest.mark.parametrize(
    "body",
    [
        b"", b"x", b"{", b"[]", b"null", b"1", b'""', b"NaN", b"[NaN]", b'{"inputs":NaN}',
        b"{}", b'{"inputs":null}', b'{"inputs":{}}', b'{"inputs":[1]}', b'{"inputs":[{}]}',
        b'{"inputs":[NaN]}', b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32"}]}',
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":null}]}',
        b'{"inputs":[{"name":"x","shape":[1.5],"datatype":"FP32","data":[1]}]}',
        b'{"inputs":[{"name":"x","shape":"1","datatype":"FP32","data":[1]}]}',
        b'{"inputs":[{"name":"x","shape":[-1],"datatype":"FP32","data":[1]}]}',
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP33","data":[1]}]}',
        b'{"inputs":[{"name":1,"shape":[1],"datatype":"FP32","data":[1]}]}',
        b'{"id":1,"inputs":[]}', b'{"inputs":[],"outputs":[1]}', b'{"inputs":[],"parameters":[]}',
        b'{"id":"\\ud800","inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[NaN]}]}',
        b'{"id":"\xff","inputs":[]}', b'{"inputs":[]} x', b"[" * 100_000,
        b'{"inputs":[{"name":"x","data":' + b"[" * 100_000, b"\xff\xfe{\x00}\x00", b"\x00",
    ],
    ids=range(33),
)  # fmt: skip
def test_a_malformed_body_is_the_callers_mistake(body: bytes) -> None:
    with pytest.raises(BadInput):
        json_codec.decode("m", "", {}, body, 0.0, Regions())


@pytest.mark.parametrize("length", ["-1", "1.5", "", "x", "1e2", "999999", "9" * 5000, "\u0661"])
def test_a_length_of_the_json_that_makes_no_sense_is_refused(length: str) -> None:
    with pytest.raises(BadInput, match=r"^Inference-Header-Content-Length is"):
        decode({"inputs": [tensor()]}, {JSON_LENGTH: length})


@pytest.mark.parametrize(
    ("size", "tail", "sentence"),
    [
        (8, b"\0" * 7, "binary_data_size 8, but 7 bytes"),
        (8, b"\0" * 9, "1 bytes of binary data belong to no input"),
        (4, b"\0" * 4, "takes 8 bytes, but 4"),
        (-1, b"\0" * 8, "binary_data_size -1"),
        (True, b"\0" * 8, "binary_data_size True"),
        ("8", b"\0" * 8, "binary_data_size '8'"),
        (10**30, b"\0" * 8, "binary_data_size 10000"),
    ],
)
def test_missing_and_left_over_bytes_are_refused(size: object, tail: bytes, sentence: str) -> None:
    given_tensor = tensor(parameters={"binary_data_size": size})
    del given_tensor["data"]
    with pytest.raises(BadInput, match=sentence):
        decode({"inputs": [given_tensor]}, tail=tail)


def test_bytes_without_an_input_that_wants_them_are_refused() -> None:
    with pytest.raises(BadInput, match="4 bytes of binary data belong to no input"):
        decode({"inputs": [tensor()]}, tail=b"abcd")


def test_data_and_bytes_for_one_input_are_refused() -> None:
    with pytest.raises(BadInput, match="both data and binary_data_size"):
        decode({"inputs": [tensor(parameters={"binary_data_size": 8})]}, tail=b"\0" * 8)


def test_an_input_given_twice_is_refused() -> None:
    with pytest.raises(BadInput, match="'x' is given twice"):
        decode({"inputs": [tensor(), tensor()]})


@pytest.mark.parametrize("shape", [[1] * 70, [0, 2**62, 2**62], [0, 2**70]])
def test_a_shape_no_array_has_is_refused(shape: list[int]) -> None:
    for given_tensor in (tensor(shape=shape, data=[]), tensor(shape=shape, data=[math.nan])):
        with pytest.raises(BadInput, match="tensor 'x' has"):
            decode({"inputs": [given_tensor]})


def test_an_input_without_elements_may_leave_out_its_data() -> None:
    given_tensor = tensor(shape=[0, 4])
    del given_tensor["data"]
    assert decode({"inputs": [given_tensor]}).inputs["x"].shape == (0, 4)


def test_reserved_parameters_are_refused() -> None:
    with pytest.raises(BadInput, match="'triton_x' is reserved"):
        decode({"inputs": [tensor()], "parameters": {"triton_x": 1}})


@pytest.mark.parametrize("name", ["slo_latency_ms", "timeout"])
def test_a_number_of_400_digits_is_refused(name: str) -> None:
    body = b'{"inputs":[],"parameters":{"%s":1%s}}' % (name.encode(), b"0" * 400)
    with pytest.raises(BadInput, match=name):
        json_codec.decode("m", "", {}, body, 0.0, Regions())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from([
            "inputs", "outputs", "id", "parameters", "name", "shape", "datatype", "data",
            "binary_data_size", "timeout", "slo_latency_ms",
        ]),
        inner,
    ),
    max_leaves=10,
)  # fmt: skip
HEADERS = st.dictionaries(
    st.sampled_from([JSON_LENGTH, "x-slo-latency-ms", "x-slo-min-accuracy", "x-variant"]),
    st.text(max_size=6) | st.integers(0, 60).map(str),
)


def is_read_or_refused(headers: dict[str, str], body: bytes) -> None:
    try:
        json_codec.decode("m", "", headers, body, 0.0, Regions())
    except FareboxError as error:
        assert str(error)


@given(HEADERS, st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(headers: dict[str, str], body: bytes) -> None:
    is_read_or_refused(headers, body)


@given(HEADERS, JSON, st.binary(max_size=8))
def test_any_json_is_read_or_refused(
    headers: dict[str, str], document: object, tail: bytes
) -> None:
    is_read_or_refused(headers, json.dumps(document).encode() + tail)


@given(st.data())
def test_a_sound_request_with_one_part_bent_is_read_or_refused(data: st.DataObject) -> None:
    document: dict[str, Any] = {"inputs": [tensor()], "id": "a", "outputs": [{"name": "y"}]}
    place: Any = data.draw(st.sampled_from([document, document["inputs"][0]]))
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(JSON)
    is_read_or_refused(data.draw(HEADERS), json.dumps(document).encode())
