"""The data of a JSON tensor: every datatype there and back, and nothing bent on the way."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gateway.oip import json_data
from model_repo.errors import BadInput, FareboxError
from model_repo.tensors import DTYPES, Array

JSON_TYPES = [name for name in DTYPES if name not in ("FP16", "BF16")]
NUMERIC = [name for name in JSON_TYPES if name not in ("BYTES", "BOOL")]
INTEGERS = [name for name in NUMERIC if "INT" in name]
BIG = [2**53 + 1, 2**63 - 1, -(2**63), -(2**53) - 1]


def read(data: object, datatype: str, shape: list[int], is_lenient: bool = False) -> Array:
    text = json.dumps(data)
    if is_lenient:
        return json_data.read_lenient(json.loads(text), datatype, shape, "x")
    return json_data.read(text.encode(), datatype, shape, "x")


@st.composite
def arrays(draw: st.DrawFn) -> tuple[str, Array]:
    datatype = draw(st.sampled_from(JSON_TYPES))
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4))
    if datatype == "BYTES":
        words = draw(st.lists(st.text(max_size=5), min_size=0, max_size=3)) or ["a"]
        flat = np.empty(int(np.prod(shape)), dtype=object)
        flat[:] = [words[i % len(words)].encode() for i in range(flat.size)]
        return datatype, flat.reshape(shape)
    elements = None
    if datatype in ("FP32", "FP64"):
        width: Any = int(datatype[2:])
        elements = st.floats(width=width, allow_nan=False, allow_infinity=False)
    return datatype, draw(hnp.arrays(DTYPES[datatype], shape, elements=elements))


@pytest.mark.parametrize("is_lenient", [False, True])
@given(made=arrays())
def test_flat_and_nested_come_in_alike_and_go_out_again(
    is_lenient: bool, made: tuple[str, Array]
) -> None:
    datatype, array = made
    flat = json_data.write(array, datatype, "x")
    seen = read(flat, datatype, list(array.shape), is_lenient)
    assert seen.dtype == DTYPES[datatype] and seen.shape == array.shape and (seen == array).all()
    if array.size:
        nested = np.array(flat, dtype=object).reshape(array.shape).tolist()
        assert (read(nested, datatype, list(array.shape), is_lenient) == array).all()


@pytest.mark.parametrize("is_lenient", [False, True])
@pytest.mark.parametrize("number", BIG)
def test_int64_never_passes_through_a_float(number: int, is_lenient: bool) -> None:
    assert read([number], "INT64", [1], is_lenient)[0] == number
    assert json_data.write(np.array([number]), "INT64", "x") == [number]


@pytest.mark.parametrize("is_lenient", [False, True])
def test_uint64_reaches_its_end(is_lenient: bool) -> None:
    seen = read([[2**64 - 1]], "UINT64", [1, 1], is_lenient)
    assert seen[0, 0] == 2**64 - 1 and json_data.write(seen, "UINT64", "x") == [2**64 - 1]


@pytest.mark.parametrize("is_lenient", [False, True])
@pytest.mark.parametrize("datatype", INTEGERS)
def test_integers_keep_their_range(datatype: str, is_lenient: bool) -> None:
    info = np.iinfo(DTYPES[datatype])
    ends = [int(info.min), int(info.max)]
    assert read(ends, datatype, [2], is_lenient).tolist() == ends
    for beyond in (ends[0] - 1, ends[1] + 1, 10**30):
        with pytest.raises(BadInput, match=f"'x' is {datatype}"):
            read([beyond], datatype, [1], is_lenient)


@pytest.mark.parametrize("is_lenient", [False, True])
@pytest.mark.parametrize("datatype", NUMERIC)
@pytest.mark.parametrize("element", [True, "1", None, {}, [1]])
def test_only_numbers_are_numbers(datatype: str, element: object, is_lenient: bool) -> None:
    with pytest.raises(BadInput, match=f"'x' is {datatype}|data must be|has the shape"):
        read([1, element], datatype, [2], is_lenient)


@pytest.mark.parametrize("is_lenient", [False, True])
@pytest.mark.parametrize("datatype", INTEGERS)
@pytest.mark.parametrize("element", [1.5, 1e30])
def test_a_fraction_is_no_integer(datatype: str, element: float, is_lenient: bool) -> None:
    with pytest.raises(BadInput, match=f"'x' is {datatype}"):
        read([element], datatype, [1], is_lenient)


def test_bool_takes_true_false_0_and_1_only() -> None:
    assert read([True, False, 1, 0], "BOOL", [4]).tolist() == [True, False, True, False]
    for wrong in (2, -1, "true", 0.5):
        with pytest.raises(BadInput, match="'x' is BOOL"):
            read([wrong], "BOOL", [1])


def test_bytes_are_text() -> None:
    assert read(["é", ""], "BYTES", [2]).tolist() == ["é".encode(), b""]
    for wrong in ([1], [None], [True]):
        with pytest.raises(BadInput, match="'x' is BYTES"):
            read(wrong, "BYTES", [1])


@pytest.mark.parametrize("raw", [b'["\xff"]', b'["\\ud800"]', b'["\\x"]'])
def test_text_that_is_none_is_refused(raw: bytes) -> None:
    with pytest.raises(BadInput, match="'x' is BYTES"):
        json_data.read(raw, "BYTES", [1], "x")


@pytest.mark.parametrize("number", [3.4028234663852886e38, -3.4028235e38, 3.4028235e38])
def test_the_largest_fp32_is_let_in_as_it_is_commonly_printed(number: float) -> None:
    assert abs(read([number], "FP32", [1])[0]) == np.finfo(np.float32).max


@pytest.mark.parametrize("is_lenient", [False, True])
@pytest.mark.parametrize("number", [3.4028236e38, 1e39, -1e39, 1e308])
def test_what_fp32_cannot_hold_is_not_made_infinite(number: float, is_lenient: bool) -> None:
    with pytest.raises(BadInput, match="'x' is FP32"):
        read([1.0, number], "FP32", [2], is_lenient)


@pytest.mark.parametrize("text", [b"[1e400]", b"[1" + b"0" * 400 + b"]"])
@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_what_no_float_can_hold_is_refused(text: bytes, datatype: str) -> None:
    with pytest.raises(BadInput, match=f"'x' is {datatype}"):
        json_data.read(text, datatype, [1], "x")


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_nan_and_infinity_are_read(datatype: str) -> None:
    seen = read([[float("nan")], [float("inf")], [-float("inf")]], datatype, [3, 1], True)
    assert np.isnan(seen[0, 0]) and seen[1:, 0].tolist() == [float("inf"), -float("inf")]


@pytest.mark.parametrize("is_lenient", [False, True])
@pytest.mark.parametrize("datatype", ["FP32", "INT64", "BYTES", "BOOL"])
@pytest.mark.parametrize(
    ("data", "shape"),
    [
        ([[1, 1]], [2]),
        ([[1], [1]], [1, 2]),
        ([[1, 1], [1]], [2, 2]),
        ([[1], [1, 1]], [2, 2]),
        ([1, [1]], [2]),
        ([1], [2]),
        ([1, 1, 1], [2]),
        ([], [1]),
        ([[]], [1, 1]),
        (1, [1]),
        ({}, [1]),
        (None, [0]),
    ],
)
def test_data_that_contradicts_the_shape_is_refused(
    datatype: str, data: object, shape: list[int], is_lenient: bool
) -> None:
    element = {"BYTES": '"a"', "BOOL": "true"}.get(datatype, "1")
    data = json.loads(json.dumps(data).replace("1", element))
    with pytest.raises(BadInput, match="tensor 'x'"):
        read(data, datatype, shape, is_lenient)


@pytest.mark.parametrize("is_lenient", [False, True])
def test_zero_size_and_scalar(is_lenient: bool) -> None:
    assert read([], "FP32", [0, 4], is_lenient).shape == (0, 4)
    assert read([[], []], "FP32", [2, 0], is_lenient).shape == (2, 0)
    assert read([5], "INT32", [], is_lenient).shape == ()
    assert json_data.write(np.array(5, np.int32), "INT32", "x") == [5]


@pytest.mark.parametrize("space", [" " * 100, "\r\n", "\n\t "])
def test_white_space_means_nothing(space: str) -> None:
    text = f"[{space}[{space}1{space},{space}2]{space}]".encode()
    assert json_data.read(text, "FP32", [1, 2], "x").tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("is_lenient", [False, True])
@pytest.mark.parametrize("depth", [17, 500])
def test_nesting_has_an_end(depth: int, is_lenient: bool) -> None:
    data: Any = 1
    for _ in range(depth):
        data = [data]
    with pytest.raises(BadInput, match="nested at most 16 deep"):
        read(data, "FP32", [1], is_lenient)


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_floats_travel_in_the_binary_format_only(datatype: str) -> None:
    for is_lenient in (False, True):
        with pytest.raises(BadInput, match=f"'x' is {datatype}.*binary format"):
            read([1.0], datatype, [1], is_lenient)
    with pytest.raises(BadInput, match=f"'x' is {datatype}.*binary_data true"):
        json_data.write(np.zeros(1, DTYPES[datatype]), datatype, "x")


def test_an_unknown_datatype_is_told_those_there_are() -> None:
    with pytest.raises(BadInput, match="'FP8': use one of BOOL"):
        read([1], "FP8", [1])


def test_bytes_that_are_no_text_cannot_be_json() -> None:
    with pytest.raises(BadInput, match=r"'y' is not UTF-8.*binary_data true"):
        json_data.write(np.array([b"\xff"], dtype=object), "BYTES", "y")
    assert json_data.write(np.array(["a", b"b"], dtype=object), "BYTES", "y") == ["a", "b"]


SHAPES = st.lists(st.integers(0, 3), max_size=3)


@given(st.binary(max_size=40), st.sampled_from(list(DTYPES)), SHAPES)
def test_any_bytes_are_read_or_refused(raw: bytes, datatype: str, shape: list[int]) -> None:
    with contextlib.suppress(FareboxError):
        assert json_data.read(raw, datatype, shape, "x").shape == tuple(shape)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.sampled_from(list(DTYPES)), SHAPES, st.booleans())
def test_any_json_is_read_or_refused(
    data: object, datatype: str, shape: list[int], is_lenient: bool
) -> None:
    try:
        seen = read(data, datatype, shape, is_lenient)
        assert seen.shape == tuple(shape) and seen.dtype == DTYPES[datatype]
    except FareboxError:
        pass
