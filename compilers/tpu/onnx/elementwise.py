"""Operators that look at one number of each tensor at a time, and conversions between types."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from compilers.tpu.onnx.call import Call, Operator
from compilers.tpu.onnx.jaxed import jax, jnp, lax
from model_repo.errors import Unsupported

TYPES = {
    **{"FLOAT": "float32", "BFLOAT16": "bfloat16", "FLOAT16": "float16", "BOOL": "bool"},
    **{"INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int32"},
    **{"UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint32"},
}
"""What an element type is inside of a program: a TPU counts in 32 bits."""


def dtype_of(element: int) -> Any:
    """The type of an ONNX element type; raises Unsupported for one that a TPU has not."""
    from onnx import TensorProto

    name = TensorProto.DataType.Name(element)
    if name not in TYPES:
        raise Unsupported(f"it computes in {name}, which a TPU does not")
    return jnp.dtype(TYPES[name])


def _is_whole(array: Any) -> bool:
    return bool(jnp.issubdtype(array.dtype, jnp.integer))


def _unary(compute: Callable[[Any], Any]) -> Operator:
    return lambda call: compute(call.array())


def _binary(compute: Callable[[Any, Any], Any]) -> Operator:
    return lambda call: compute(call.array(0), call.array(1))


def _folded(compute: Callable[[Any, Any], Any]) -> Operator:
    return lambda call: reduce(compute, call.arrays())


def _divide(call: Call) -> Any:
    left, right = call.array(0), call.array(1)
    if _is_whole(left):  # towards zero, as in C
        return lax.div(*jnp.broadcast_arrays(left, right))
    return left / right


def _mod(call: Call) -> Any:
    compute = jnp.fmod if call.attribute("fmod", 0) else jnp.mod
    return compute(call.array(0), call.array(1))


def _power(call: Call) -> Any:
    left, right = call.array(0), call.array(1)
    if _is_whole(left) and not _is_whole(right):
        return jnp.power(left.astype(jnp.float32), right).astype(left.dtype)
    return jnp.power(left, right.astype(left.dtype) if not _is_whole(right) else right)


def _mean(call: Call) -> Any:
    return reduce(jnp.add, call.arrays()) / len(call.values)


def _cast(call: Call) -> Any:
    return convert(call.array(), dtype_of(call.attribute("to")))


def _cast_like(call: Call) -> Any:
    dtype = call.array(1).dtype
    if dtype.name not in TYPES.values():
        raise Unsupported(f"it computes in {dtype.name}, which a TPU does not")
    return convert(call.array(0), dtype)


def _dropout(call: Call) -> Any:
    array = call.array()
    if call.has(2) and call.known(2):
        raise Unsupported("it is in training mode: export the model for inference")
    return (array, jnp.ones(array.shape, bool))[: len(call.node.output)]


def convert(array: Any, dtype: Any) -> Any:
    """Cast as ONNX does: anything but 0 is true."""
    return array != 0 if dtype == jnp.bool_ else array.astype(dtype)


def _clip(call: Call) -> Any:
    array = call.array()
    if call.has(1):
        array = jnp.maximum(array, call.array(1).astype(array.dtype))
    if call.has(2):
        array = jnp.minimum(array, call.array(2).astype(array.dtype))
    return array


def _shift(call: Call) -> Any:
    is_left = call.attribute("direction") == "LEFT"
    return (jnp.left_shift if is_left else jnp.right_shift)(call.array(0), call.array(1))


def _is_inf(call: Call) -> Any:
    array = call.array()
    found = jnp.zeros(array.shape, bool)
    if call.attribute("detect_positive", 1):
        found |= array == np.inf
    if call.attribute("detect_negative", 1):
        found |= array == -np.inf
    return found


def _where(call: Call) -> Any:
    return jnp.where(call.array(0), call.array(1), call.array(2))


def _prelu(call: Call) -> Any:
    array, slope = call.array(0), call.array(1)
    return jnp.where(array < 0, array * slope, array)


_UNARY: dict[str, Any] = {
    **{"Abs": jnp.abs, "Neg": jnp.negative, "Ceil": jnp.ceil, "Floor": jnp.floor},
    **{"Round": jnp.round, "Sqrt": jnp.sqrt, "Exp": jnp.exp, "Log": jnp.log, "Sin": jnp.sin},
    **{"Cos": jnp.cos, "Tan": jnp.tan, "Asin": jnp.arcsin, "Acos": jnp.arccos},
    **{"Atan": jnp.arctan, "Sinh": jnp.sinh, "Cosh": jnp.cosh, "Asinh": jnp.arcsinh},
    **{"Acosh": jnp.arccosh, "Atanh": jnp.arctanh, "Erf": jax.scipy.special.erf},
    **{"Reciprocal": jnp.reciprocal, "Sign": jnp.sign, "Not": jnp.logical_not},
    **{"IsNaN": jnp.isnan, "BitwiseNot": jnp.bitwise_not, "Identity": lambda array: array},
}
_BINARY: dict[str, Any] = {
    **{"Add": jnp.add, "Sub": jnp.subtract, "Mul": jnp.multiply, "And": jnp.logical_and},
    **{"Or": jnp.logical_or, "Xor": jnp.logical_xor, "Equal": jnp.equal, "Less": jnp.less},
    **{"Greater": jnp.greater, "LessOrEqual": jnp.less_equal},
    **{"GreaterOrEqual": jnp.greater_equal, "BitwiseAnd": jnp.bitwise_and},
    **{"BitwiseOr": jnp.bitwise_or, "BitwiseXor": jnp.bitwise_xor},
}
OPERATORS: dict[str, Operator] = {
    **{name: _unary(compute) for name, compute in _UNARY.items()},
    **{name: _binary(compute) for name, compute in _BINARY.items()},
    **{"Min": _folded(jnp.minimum), "Max": _folded(jnp.maximum), "Sum": _folded(jnp.add)},
    **{"Mean": _mean, "Div": _divide, "Mod": _mod, "Pow": _power, "Cast": _cast, "Clip": _clip},
    **{"BitShift": _shift, "IsInf": _is_inf, "Where": _where, "PRelu": _prelu},
    **{"CastLike": _cast_like, "Dropout": _dropout},
}
