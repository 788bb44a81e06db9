"""Products of matrices, in floating point or in int8."""

from __future__ import annotations

from typing import Any

from compilers.tpu.onnx.call import Call, Operator
from compilers.tpu.onnx.jaxed import jnp, lax
from compilers.tpu.onnx.values import Quantized
from compilers.tpu.onnx.whole import is_fit, signed, total


def product(left: Any, right: Any) -> Any:
    """left @ right; what has 16 bits is summed in 32, whole numbers in int32."""
    is_whole = jnp.issubdtype(left.dtype, jnp.integer)
    found = jnp.matmul(
        left,
        right,
        precision=precision_of(left),
        preferred_element_type=jnp.int32 if is_whole else jnp.float32,
    )
    return found if is_whole else found.astype(left.dtype)


def precision_of(array: Any) -> Any:
    """That of the program for fp32; what has fewer bits is exact in one pass."""
    return None if array.dtype == jnp.float32 else lax.Precision.DEFAULT


def _matmul(call: Call) -> Any:
    left, right = call.values
    rank = right.whole.ndim if isinstance(right, Quantized) else 0
    if rank == 2 and left is not right and is_fit(left, right, 1):
        return _whole_matmul(left, right)
    return product(call.array(0), call.array(1))


def _whole_matmul(left: Quantized, right: Quantized) -> Any:
    """[..., k] by [k, n] as int8."""
    numbers, zero = signed(left.whole, left.zero_point)
    found = product(numbers, right.whole) - zero.reshape(()) * total(right.whole, 0)
    scale = jnp.asarray(left.scale).reshape(()) * jnp.asarray(right.scale).reshape(-1)
    return found.astype(scale.dtype) * scale


def _gemm(call: Call) -> Any:
    left, right = call.values[:2]
    turns = call.attribute("transB", 0)
    if not call.attribute("transA", 0) and is_fit(left, right, 0 if turns else 1):
        weights = right.whole.T if turns else right.whole
        found = _whole_matmul(left, Quantized(weights, right.scale, None, 1))
    else:
        one, other = call.array(0), call.array(1)
        found = product(one.T if call.attribute("transA", 0) else one, other.T if turns else other)
    if (alpha := call.attribute("alpha", 1.0)) != 1.0:
        found = (found * alpha).astype(found.dtype)
    if not call.has(2):
        return found
    return found + (call.array(2) * call.attribute("beta", 1.0)).astype(found.dtype)


def _einsum(call: Call) -> Any:
    arrays = call.arrays()
    found = jnp.einsum(
        call.attribute("equation"),
        *arrays,
        precision=precision_of(arrays[0]),
        preferred_element_type=jnp.float32,
    )
    return found.astype(arrays[0].dtype)


def _matmul_integer(call: Call) -> Any:
    """sum (qa - za)(qb - zb) over int8, whatever the zero points."""
    left, za = signed(call.array(0), call.array(2) if call.has(2) else None)
    right, zb = signed(call.values[1], call.array(3) if call.has(3) else None)
    za = za[..., None] if za.ndim == 1 and za.size > 1 else za
    found = product(left, right) - za * total(right, -2, keepdims=True)
    if not call.has(3) and call.values[1].dtype.name == "int8":
        return found
    return found - zb * total(left, -1, keepdims=True) + za * zb * left.shape[-1]


OPERATORS: dict[str, Operator] = {
    **{"MatMul": _matmul, "Gemm": _gemm, "Einsum": _einsum, "MatMulInteger": _matmul_integer},
}
