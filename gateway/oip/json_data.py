"""The `data` of a JSON tensor, to and from arrays: strict about kinds, ranges and nesting."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from gateway.core.request import Body
from model_repo.errors import BadInput
from model_repo.tensors import Array, dtype_of, element_count

# From here on a double rounds to infinity: 2**128 - 2**103, half a step past the largest FP32.
_FLOAT32_END = 3.4028235677973366e38
_ELEMENTS: dict[str, Any] = {
    "BOOL": bool | Annotated[int, Meta(ge=0, le=1)],
    "INT8": Annotated[int, Meta(ge=-(2**7), le=2**7 - 1)],
    "INT16": Annotated[int, Meta(ge=-(2**15), le=2**15 - 1)],
    "INT32": Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)],
    "INT64": int,
    "UINT8": Annotated[int, Meta(ge=0, le=2**8 - 1)],
    "UINT16": Annotated[int, Meta(ge=0, le=2**16 - 1)],
    "UINT32": Annotated[int, Meta(ge=0, le=2**32 - 1)],
    "UINT64": Annotated[int, Meta(ge=0)],
    "FP32": Annotated[float, Meta(gt=-_FLOAT32_END, lt=_FLOAT32_END)],
    "FP64": float,
    "BYTES": str,
}
BINARY_ONLY = ("FP16", "BF16")
_MAX_DEPTH = 16
_OPENING = re.compile(rb"[\[ \t\r\n]*")


def read(raw: bytes | memoryview, datatype: str, shape: Sequence[int], tensor: str) -> Array:
    """JSON text of a flat or nested list to an array of `shape`.

    Raises BadInput, naming the tensor, for FP16 and BF16 (binary only), elements of another kind
    or out of range, and a count or nesting that contradicts the shape.
    """
    _check_datatype(datatype, tensor)
    count = element_count(shape, tensor)
    depth = _depth(raw, tensor)
    try:
        values = _decoder(datatype, depth).decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"tensor {tensor!r} is {datatype}: {error}") from error
    return _to_array(values, datatype, shape, tensor, depth, count)


def read_lenient(values: object, datatype: str, shape: Sequence[int], tensor: str) -> Array:
    """The same for a body the strict codec refused because it holds NaN or Infinity."""
    _check_datatype(datatype, tensor)
    count = element_count(shape, tensor)
    depth, inner = 0, values
    while isinstance(inner, list):
        depth, inner = depth + 1, inner[0] if inner else None
    _check_depth(depth, tensor)
    try:
        checked = msgspec.convert(values, _nested(_wide(datatype), depth))
    except msgspec.ValidationError as error:
        raise BadInput(f"tensor {tensor!r} is {datatype}: {error}") from error
    return _to_array(checked, datatype, shape, tensor, depth, count)


def write(array: Array, datatype: str, tensor: str) -> list[Any]:
    """A flat list for JSON; raises BadInput where only the binary format can carry the values."""
    if datatype in BINARY_ONLY:
        raise BadInput(f"the output {tensor!r} is {datatype}: ask for it with binary_data true")
    if datatype == "BYTES":
        return [_text(element, tensor) for element in array.ravel()]
    values: list[Any] = array.ravel().tolist()
    return values


def _check_datatype(datatype: str, tensor: str) -> None:
    dtype_of(datatype, tensor)
    if datatype in BINARY_ONLY:
        raise BadInput(
            f"tensor {tensor!r} is {datatype}: send it in the binary format, not as JSON"
        )


def _depth(raw: bytes | memoryview, tensor: str) -> int:
    opening = _OPENING.match(raw)
    depth = opening.group().count(b"[") if opening else 0
    _check_depth(depth, tensor)
    return depth


def _check_depth(depth: int, tensor: str) -> None:
    if not 1 <= depth <= _MAX_DEPTH:
        raise BadInput(f"tensor {tensor!r}: data must be a list, nested at most {_MAX_DEPTH} deep")


def _nested(element: Any, depth: int) -> Any:
    for _ in range(depth):
        element = list[element]
    return element


def _wide(datatype: str) -> Any:
    return float if datatype == "FP32" else _ELEMENTS[datatype]


@functools.lru_cache(maxsize=256)
def _decoder(datatype: str, depth: int) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(_nested(_ELEMENTS[datatype], depth))


def _to_array(
    values: list[Any], datatype: str, shape: Sequence[int], tensor: str, depth: int, count: int
) -> Array:
    try:
        array = _bytes_array(values, depth) if datatype == "BYTES" else _numbers(values, datatype)
    except OverflowError as error:
        raise BadInput(f"tensor {tensor!r} is {datatype}: a value is out of its range") from error
    except ValueError as error:
        raise BadInput(f"tensor {tensor!r} is {datatype}: {error}") from error
    if array.size != count or (depth > 1 and array.shape != tuple(shape)):
        given = list(array.shape) if depth > 1 else f"{array.size} elements"
        raise BadInput(f"tensor {tensor!r} has the shape {list(shape)}, but its data is {given}")
    return array.reshape(shape)


def _numbers(values: list[Any], datatype: str) -> Array:
    with np.errstate(over="ignore"):
        array = np.array(values, dtype_of(datatype, ""))
    if datatype == "FP32" and not np.isfinite(array).all():
        wide = np.array(values, np.float64)
        if np.isinf(array).sum() != np.isinf(wide).sum():
            raise OverflowError("a value is beyond the range of FP32")
    return array


def _bytes_array(values: list[Any], depth: int) -> Array:
    shape, level = [], values
    for _ in range(depth):
        shape.append(len(level))
        level = level[0] if level else []
    flat: list[Any] = values
    for size in shape[1:]:
        if any(len(part) != size for part in flat):
            raise ValueError("its nested lists differ in length")
        flat = [element for part in flat for element in part]
    array = np.empty(len(flat), dtype=object)
    array[:] = [text.encode() for text in flat]
    return array.reshape(shape)


def _text(element: object, tensor: str) -> str:
    if not isinstance(element, bytes):
        return str(element)
    try:
        return element.decode()
    except UnicodeDecodeError as error:
        raise BadInput(
            f"the output {tensor!r} is not UTF-8 text: ask for it with binary_data true"
        ) from error


_ENCODER = msgspec.json.Encoder()


def dumps(document: object, is_finite: bool) -> bytes:
    """JSON text, with NaN and Infinity in it unless every number is finite."""
    # msgspec would write those two as null.
    return _ENCODER.encode(document) if is_finite else json.dumps(document).encode()


def loads_with_nan(text: Body) -> Any:
    """Standard-library JSON, which reads NaN and Infinity; raises BadInput when malformed."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"the request is not valid JSON: {error}") from error
