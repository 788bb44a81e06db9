"""OIP datatypes and NumPy arrays: names, shapes, and bytes on the wire.

Wire format: little-endian, row-major, no padding; BOOL is one byte; BYTES is `<u32 length><bytes>`
for each element (Open Inference Protocol v2, binary tensor data extension).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from model_repo.errors import BadInput
from model_repo.records import TensorSpec

Array = NDArray[Any]
Bytes = bytes | bytearray | memoryview

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "BYTES": np.dtype(object),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_MAX_ELEMENTS = 2**40


def dtype_of(datatype: str, tensor: str) -> np.dtype[Any]:
    """The NumPy dtype of an OIP datatype; raises BadInput naming the tensor."""
    dtype = DTYPES.get(datatype)
    if dtype is None:
        raise BadInput(
            f"tensor {tensor!r} has the datatype {datatype!r}: use one of {', '.join(DTYPES)}"
        )
    return dtype


def datatype_of(array: Array) -> str:
    """The OIP datatype of an array; strings of any kind are BYTES."""
    if array.dtype.kind in "SU":
        return "BYTES"
    name = _NAMES.get(array.dtype)
    if name is None:
        raise BadInput(
            f"arrays of {array.dtype} have no OIP datatype: convert them to one of "
            f"{', '.join(DTYPES)}"
        )
    return name


def element_count(shape: Sequence[int], tensor: str) -> int:
    """The number of elements of a concrete shape; raises BadInput for negative or absurd sizes."""
    for size in shape:
        if size < 0:
            raise BadInput(f"tensor {tensor!r}: the shape {list(shape)} has a negative size")
    count = math.prod(shape)
    if count > _MAX_ELEMENTS:
        raise BadInput(f"tensor {tensor!r} has the shape {list(shape)}: that is too many elements")
    return count


def check(spec: TensorSpec, datatype: str, shape: Sequence[int]) -> None:
    """Raise BadInput unless a tensor of this datatype and shape fits `spec`."""
    if datatype != spec.datatype:
        raise BadInput(f"tensor {spec.name!r} is {spec.datatype}, but {datatype} was given")
    if len(shape) != len(spec.shape) or any(
        want not in (-1, got) for want, got in zip(spec.shape, shape, strict=True)
    ):
        raise BadInput(
            f"tensor {spec.name!r} has the shape {list(spec.shape)} (-1 is any size), "
            f"but {list(shape)} was given"
        )


def from_bytes(data: Bytes, datatype: str, shape: Sequence[int], tensor: str) -> Array:
    """Read a tensor off the wire: a read-only view for numbers, bytes objects for BYTES.

    Raises BadInput, naming `tensor`, unless `data` holds exactly the elements of `shape`.
    """
    dtype = dtype_of(datatype, tensor)
    count = element_count(shape, tensor)
    if datatype == "BYTES":
        return _read_bytes_elements(data, count, tensor).reshape(shape)
    if len(data) != count * dtype.itemsize:
        raise BadInput(
            f"tensor {tensor!r} of {datatype} {list(shape)} takes {count * dtype.itemsize} bytes, "
            f"but {len(data)} were given"
        )
    if datatype == "BOOL":
        return np.frombuffer(data, np.uint8).astype(np.bool_).reshape(shape)
    return np.frombuffer(data, dtype).reshape(shape)


def _read_bytes_elements(data: Bytes, count: int, tensor: str) -> Array:
    elements: list[bytes] = []
    at, end = 0, len(data)
    while at < end:
        if at + 4 > end:
            raise BadInput(f"tensor {tensor!r}: its last BYTES length is cut off at byte {at}")
        (length,) = struct.unpack_from("<I", data, at)
        at += 4
        if at + length > end:
            raise BadInput(f"tensor {tensor!r}: a BYTES element of {length} bytes is cut off")
        elements.append(bytes(data[at : at + length]))
        at += length
    if len(elements) != count:
        raise BadInput(f"tensor {tensor!r} takes {count} BYTES elements, but {len(elements)} came")
    array = np.empty(count, dtype=object)
    array[:] = elements
    return array


def to_buffer(array: Array) -> bytes | memoryview:
    """A tensor as the wire has it, without a copy where it lies so already: a view of numbers."""
    if array.dtype.kind in "OSU" or array.dtype.byteorder == ">" or not array.flags.c_contiguous:
        return to_bytes(array)
    return array.reshape(-1).view(np.uint8).data


def to_bytes(array: Array) -> bytes:
    """Write a tensor as the wire has it."""
    if array.dtype.kind in "OSU":
        parts = []
        for element in array.ravel():
            raw = element if isinstance(element, bytes) else str(element).encode()
            parts.append(struct.pack("<I", len(raw)))
            parts.append(raw)
        return b"".join(parts)
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    return array.tobytes()
