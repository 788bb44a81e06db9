"""From numbers to whole numbers of 8 bits and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from compilers.tpu.onnx.call import Call, Operator
from compilers.tpu.onnx.elementwise import dtype_of
from compilers.tpu.onnx.jaxed import jnp
from compilers.tpu.onnx.values import Quantized, along
from model_repo.errors import Unsupported

_WIDTHS = ("int8", "uint8", "int16", "uint16", "int32")


def _blocked(call: Call, values: Any, shape: tuple[Any, ...], axis: int) -> Any:
    """A number for each block of `block_size` along the axis, repeated for all that are in it."""
    size = call.attribute("block_size", 0)
    if not size:
        return along(values, len(shape), axis)
    return jnp.repeat(values, size, axis)[tuple(slice(length) for length in shape)]


def _quantize(call: Call) -> Any:
    array, scale = call.array(0), call.array(1)
    axis = call.axis(array.ndim, 1)
    dtype = call.array(2).dtype if call.has(2) else dtype_of(call.attribute("output_dtype") or 2)
    if dtype.name not in _WIDTHS:
        raise Unsupported(f"it quantizes to {dtype.name}: use INT8 or UINT8")
    steps = array.astype(jnp.float32) / _blocked(call, scale, array.shape, axis)
    whole = jnp.round(steps)
    if call.has(2):
        whole = whole + _blocked(call, call.array(2).astype(jnp.float32), array.shape, axis)
    bounds = jnp.iinfo(dtype)
    return jnp.clip(whole, bounds.min, bounds.max).astype(dtype)


def _dequantize(call: Call) -> Any:
    whole = call.values[0] if isinstance(call.values[0], np.ndarray) else call.array(0)
    if whole.dtype.name not in (*_WIDTHS, "int4", "uint4"):
        raise Unsupported(f"it takes {whole.dtype.name}: use INT8 or UINT8")
    if whole.dtype.name in ("int4", "uint4"):  # not every compiler takes the packed form
        whole = whole.astype(whole.dtype.name.replace("4", "8"))
    scale = call.array(1)
    zero = call.values[2] if call.has(2) else None
    if call.attribute("block_size", 0):
        return _dequantize_blocks(call, call.convert(whole), scale, zero)
    axis = call.axis(whole.ndim, 1)
    return Quantized(whole, scale, zero, axis)


def _dequantize_blocks(call: Call, whole: Any, scale: Any, zero: Any) -> Any:
    axis = call.axis(whole.ndim, 1)
    numbers = whole.astype(jnp.float32)
    if zero is not None:
        zero = call.convert(zero).astype(jnp.float32)
        numbers = numbers - _blocked(call, zero, whole.shape, axis)
    return (numbers * _blocked(call, scale, whole.shape, axis)).astype(scale.dtype)


def _quantize_dynamically(call: Call) -> Any:
    """Formulas of the operator's specification: the range always holds 0."""
    array = call.array().astype(jnp.float32)
    least, most = jnp.minimum(jnp.min(array), 0), jnp.maximum(jnp.max(array), 0)
    scale = (most - least) / 255
    scale = jnp.where(scale == 0, 1, scale)
    zero = jnp.clip(jnp.round(-least / scale), 0, 255)
    whole = jnp.clip(jnp.round(array / scale) + zero, 0, 255)
    return whole.astype(jnp.uint8), scale, zero.astype(jnp.uint8)


OPERATORS: dict[str, Operator] = {
    **{"QuantizeLinear": _quantize, "DequantizeLinear": _dequantize},
    "DynamicQuantizeLinear": _quantize_dynamically,
}
