"""Every datatype survives the wire, and what does not fit is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from model_repo import tensors
from model_repo.errors import BadInput
from model_repo.records import TensorSpec
from model_repo.tensors import DTYPES, Array

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
FIXED = {name: dtype for name, dtype in DTYPES.items() if name != "BYTES"}


@pytest.mark.parametrize("datatype", FIXED)
@given(shape=SHAPES, seed=st.integers(0, 2**32 - 1))
def test_numbers_come_back_bit_for_bit(datatype: str, shape: tuple[int, ...], seed: int) -> None:
    dtype = FIXED[datatype]
    raw = np.random.default_rng(seed).bytes(int(np.prod(shape)) * dtype.itemsize)
    if datatype == "BOOL":
        raw = bytes(byte & 1 for byte in raw)
    array = tensors.from_bytes(raw, datatype, shape, "x")
    assert array.dtype == dtype and array.shape == shape
    assert tensors.to_bytes(array) == raw
    assert tensors.datatype_of(array) == datatype


@given(shape=SHAPES, data=st.data())
def test_strings_come_back_byte_for_byte(shape: tuple[int, ...], data: st.DataObject) -> None:
    count = int(np.prod(shape))
    elements = data.draw(st.lists(st.binary(max_size=20), min_size=count, max_size=count))
    array = np.empty(count, object)
    array[:] = elements
    raw = tensors.to_bytes(array.reshape(shape))
    assert len(raw) == sum(4 + len(element) for element in elements)
    back = tensors.from_bytes(raw, "BYTES", shape, "x")
    assert back.shape == shape and back.ravel().tolist() == elements


@pytest.mark.parametrize(
    "array", [np.array(["a", "bc"]), np.array([b"a", b"bc"]), np.array(["a", b"bc"], object)]
)
def test_text_of_any_kind_is_bytes(array: Array) -> None:
    assert tensors.datatype_of(array) == "BYTES"
    assert tensors.to_bytes(array) == b"\x01\0\0\0a\x02\0\0\0bc"


def test_the_wire_is_little_endian_and_row_major() -> None:
    array = np.array([[1, 2], [3, 4]], np.int16)
    assert tensors.to_bytes(array) == b"\1\0\2\0\3\0\4\0"
    assert tensors.to_bytes(array.T) == b"\1\0\3\0\2\0\4\0"
    assert tensors.to_bytes(array.astype(">i2")) == b"\1\0\2\0\3\0\4\0"


def test_any_byte_but_zero_is_true() -> None:
    assert tensors.from_bytes(b"\0\1\2\xff", "BOOL", [4], "x").tolist() == [False, True, True, True]


@given(
    raw=st.binary(max_size=40),
    datatype=st.sampled_from(sorted(DTYPES)),
    shape=st.lists(st.integers(-2, 5), max_size=3),
)
def test_arbitrary_bytes_are_read_or_refused_never_worse(
    raw: bytes, datatype: str, shape: list[int]
) -> None:
    try:
        array = tensors.from_bytes(raw, datatype, shape, "x")
    except BadInput as error:
        assert "'x'" in str(error)
    else:
        assert list(array.shape) == shape


@pytest.mark.parametrize(
    ("raw", "datatype", "shape", "reason"),
    [
        (b"123", "FP32", [1], "takes 4 bytes, but 3 were given"),
        (b"", "FP99", [1], "use one of BOOL"),
        (b"", "INT8", [-1], "negative"),
        (b"", "INT8", [2**30, 2**30], "too many elements"),
        (b"\5\0\0\0ab", "BYTES", [1], "cut off"),
        (b"\5\0", "BYTES", [1], "cut off at byte 0"),
        (b"\0\0\0\0", "BYTES", [2], "takes 2 BYTES elements, but 1 came"),
    ],
)
def test_what_does_not_fit_is_refused(
    raw: bytes, datatype: str, shape: list[int], reason: str
) -> None:
    with pytest.raises(BadInput, match=reason):
        tensors.from_bytes(raw, datatype, shape, "x")


def test_an_array_without_a_datatype_is_refused() -> None:
    with pytest.raises(BadInput, match=r"complex128 .*one of BOOL, UINT8, .*BYTES$"):
        tensors.datatype_of(np.zeros(1, np.complex128))


@pytest.mark.parametrize(
    ("datatype", "shape", "reason"),
    [
        ("FP32", (7, 4), None),
        ("FP64", (7, 4), "is FP32, but FP64 was given"),
        ("FP32", (7, 5), r"has the shape \[-1, 4\]"),
        ("FP32", (4,), r"but \[4\] was given"),
    ],
)
def test_a_tensor_is_checked_against_its_spec(
    datatype: str, shape: tuple[int, ...], reason: str | None
) -> None:
    spec = TensorSpec("x", "FP32", (-1, 4))
    if reason is None:
        tensors.check(spec, datatype, shape)
    else:
        with pytest.raises(BadInput, match=reason):
            tensors.check(spec, datatype, shape)


@pytest.mark.parametrize("datatype", DTYPES)
def test_a_buffer_is_what_the_bytes_are_without_a_copy(datatype: str) -> None:
    if datatype == "BYTES":
        array: Array = np.array([[b"a", b""]], dtype=object)
    else:
        array = np.arange(6).reshape(2, 3).astype(DTYPES[datatype])
    for each in (array, array[:, ::2], array[:0], array.T):
        assert bytes(tensors.to_buffer(each)) == tensors.to_bytes(each)
    if datatype != "BYTES":
        scalar = array[0, 0].reshape(())
        assert bytes(tensors.to_buffer(scalar)) == tensors.to_bytes(scalar)
        view = np.frombuffer(tensors.to_buffer(array), np.uint8)
        assert np.shares_memory(view, array)
