"""OIP over gRPC: typed and raw contents, there and back, sound and broken."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tritonclient.grpc import service_pb2 as pb

from gateway.core.request import InferRequest, InferResponse
from gateway.oip import proto_codec
from gateway.shared_memory import Regions
from model_repo.errors import BadInput, FareboxError
from model_repo.tensors import DTYPES, Array, datatype_of, to_bytes

FIELDS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents",
    "INT32": "int_contents", "INT64": "int64_contents", "UINT8": "uint_contents",
    "UINT16": "uint_contents", "UINT32": "uint_contents", "UINT64": "uint64_contents",
    "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip


def decode(message: Any, remaining_s: float | None = None, **metadata: str) -> InferRequest:
    return proto_codec.decode(message, metadata, 100.0, remaining_s, Regions())


def typed(datatype: str, shape: list[int], values: list[Any], field: str = "") -> Any:
    message = pb.ModelInferRequest(model_name="m")
    tensor = message.inputs.add(name="x", datatype=datatype, shape=shape)
    getattr(tensor.contents, field or FIELDS[datatype]).extend(values)
    return message


def raw(*arrays: Array) -> Any:
    message = pb.ModelInferRequest(model_name="m")
    for index, array in enumerate(arrays):
        message.inputs.add(name=f"t{index}", datatype=datatype_of(array), shape=array.shape)
        message.raw_input_contents.append(to_bytes(array))
    return message


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
    wire = draw(st.binary(min_size=count * dtype.itemsize, max_size=count * dtype.itemsize))
    return np.frombuffer(wire, dtype).reshape(shape)


@given(st.lists(arrays(), min_size=1, max_size=3))
def test_every_datatype_goes_there_and_back_raw(given_arrays: list[Array]) -> None:
    request = decode(raw(*given_arrays))
    for seen, array in zip(request.inputs.values(), given_arrays, strict=True):
        assert seen.dtype == array.dtype and seen.shape == array.shape
        assert to_bytes(seen) == to_bytes(array)
    answer = proto_codec.encode(InferResponse(request, "m", "1", request.inputs, {}), Regions())
    assert list(answer.raw_output_contents) == [to_bytes(array) for array in given_arrays]
    assert [list(o.shape) for o in answer.outputs] == [list(a.shape) for a in given_arrays]
    assert [o.datatype for o in answer.outputs] == [datatype_of(a) for a in given_arrays]
    assert not any(output.HasField("contents") for output in answer.outputs)


@given(arrays().filter(lambda array: datatype_of(array) in FIELDS))
def test_every_typed_datatype_is_read(array: Array) -> None:
    datatype = datatype_of(array)
    request = decode(typed(datatype, list(array.shape), array.ravel().tolist()))
    seen = request.inputs["x"]
    assert seen.dtype == array.dtype and seen.shape == array.shape
    assert to_bytes(seen) == to_bytes(array) or np.isnan(array.astype(float)).any()


@pytest.mark.parametrize(
    ("datatype", "value"),
    [("INT64", 2**63 - 1), ("INT64", -(2**63)), ("INT64", 2**53 + 1), ("UINT64", 2**64 - 1)],
)
def test_large_integers_stay_whole(datatype: str, value: int) -> None:
    assert decode(typed(datatype, [1], [value])).inputs["x"][0] == value


@pytest.mark.parametrize(
    ("datatype", "value"),
    [("INT8", 128), ("INT8", -129), ("INT16", 2**15), ("UINT8", 256), ("UINT16", 2**16)],
)
def test_what_is_out_of_range_is_refused_and_does_not_wrap(datatype: str, value: int) -> None:
    with pytest.raises(BadInput, match=f"'x' is {datatype}"):
        decode(typed(datatype, [1], [value]))


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_floats_are_raw_only(datatype: str) -> None:
    with pytest.raises(BadInput, match=f"'x' is {datatype}: send it in raw_input_contents"):
        decode(typed(datatype, [1], [1.0], "fp32_contents"))


def test_contents_of_another_kind_are_refused() -> None:
    with pytest.raises(BadInput, match="use int_contents, not fp32_contents"):
        decode(typed("INT32", [1], [1.0], "fp32_contents"))


@pytest.mark.parametrize(
    ("shape", "values"), [([2], [1.0]), ([1], [1.0, 2.0]), ([1], []), ([0], [1.0]), ([-1], [1.0])]
)
def test_contents_that_contradict_the_shape_are_refused(
    shape: list[int], values: list[float]
) -> None:
    with pytest.raises(BadInput, match="'x'"):
        decode(typed("FP32", shape, values))


@pytest.mark.parametrize("shape", [[1] * 70, [0, 2**62, 2**62]])
def test_a_shape_no_array_has_is_refused(shape: list[int]) -> None:
    for values in ([], [1.0]):
        with pytest.raises(BadInput, match="tensor 'x' has"):
            decode(typed("FP32", shape, values))


def test_zero_size_and_scalar() -> None:
    assert decode(typed("FP32", [0, 4], [])).inputs["x"].shape == (0, 4)
    assert decode(typed("INT64", [], [7])).inputs["x"].shape == ()


def test_raw_and_typed_do_not_mix() -> None:
    message = typed("FP32", [1], [1.0])
    message.raw_input_contents.append(b"\0\0\0\0")
    with pytest.raises(BadInput, match="has contents, but raw_input_contents came too"):
        decode(message)


def test_raw_contents_match_the_inputs() -> None:
    one = np.ones(2, np.float32)
    few, short = raw(one, one), raw(one)
    del few.raw_input_contents[1]
    short.raw_input_contents[0] = b"\0" * 7
    with pytest.raises(BadInput, match="2 inputs came with 1 raw_input_contents"):
        decode(few)
    with pytest.raises(BadInput, match="takes 8 bytes, but 7"):
        decode(short)


def test_an_input_given_twice_is_refused() -> None:
    message = raw(np.ones(1, np.float32), np.ones(1, np.float32))
    message.inputs[1].name = "t0"
    with pytest.raises(BadInput, match="'t0' is given twice"):
        decode(message)


def test_the_deadline_is_the_tighter_of_the_call_and_the_parameter() -> None:
    message = typed("FP32", [1], [1.0])
    assert decode(message).deadline_s == math.inf
    assert decode(message, 5.0).deadline_s == 105.0
    message.parameters["timeout"].int64_param = 2_000_000
    assert decode(message).deadline_s == decode(message, 5.0).deadline_s == 102.0
    assert decode(message, 1.0).deadline_s == 101.0


def test_parameters_of_every_kind_are_read() -> None:
    message = typed("FP32", [1], [1.0])
    message.parameters["slo_latency_ms"].int64_param = 20
    message.parameters["slo_min_accuracy"].double_param = 0.5
    message.parameters["slo_max_cost_usd"].string_param = "0.1"
    message.parameters["explain"].bool_param = True
    message.parameters["priority"].uint64_param = 1
    message.parameters["unset"].SetInParent()
    request = decode(message, **{"x-variant": "v"})
    bounds = (request.slo.latency_s, request.slo.min_accuracy, request.slo.max_cost_usd)
    assert bounds == (0.02, 0.5, 0.1) and request.explain and request.variant == "v"


def test_reserved_parameters_are_refused_as_over_http() -> None:
    message = typed("FP32", [1], [1.0])
    message.parameters["triton_x"].int64_param = 1
    with pytest.raises(BadInput, match="'triton_x' is reserved"):
        decode(message)


def test_an_answer_says_who_and_what() -> None:
    request = InferRequest("m", "", {}, 0.0, id="7")
    facts = {"variant": "v", "cost_usd": 0.5, "slo_met": True, "n": 3}
    answer = proto_codec.encode(InferResponse(request, "m", "2", {}, facts), Regions())
    assert (answer.model_name, answer.model_version, answer.id) == ("m", "2", "7")
    kinds = {name: p.WhichOneof("parameter_choice") for name, p in answer.parameters.items()}
    assert kinds == {
        "variant": "string_param", "cost_usd": "double_param", "slo_met": "bool_param",
        "n": "int64_param",
    }  # fmt: skip


@given(
    st.text(max_size=3), st.sampled_from([*DTYPES, "", "X"]),
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3), max_size=3),
    st.lists(st.binary(max_size=9), max_size=2), st.lists(st.floats(width=32), max_size=4),
)  # fmt: skip
def test_any_message_is_read_or_refused(
    name: str, datatype: str, shape: list[int], contents: list[bytes], values: list[float]
) -> None:
    message = pb.ModelInferRequest(model_name="m", raw_input_contents=contents)
    tensor = message.inputs.add(name=name, datatype=datatype, shape=shape)
    tensor.contents.fp32_contents.extend(values)
    try:
        decode(message)
    except FareboxError as error:
        assert str(error)
