"""Operators that sum, average or compare along axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from compilers.tpu.onnx.call import Call, Operator
from compilers.tpu.onnx.jaxed import jax, jnp


def _reduction(compute: Callable[..., Any]) -> Operator:
    def apply(call: Call) -> Any:
        array, axes = call.array(), call.listed("axes", 1)
        if not axes and call.attribute("noop_with_empty_axes", 0):
            axes = []
        elif not axes:
            axes = list(range(array.ndim))
        keeps = bool(call.attribute("keepdims", 1))
        return compute(array, axis=tuple(axes), keepdims=keeps).astype(array.dtype)

    return apply


def _wide(array: Any) -> Any:
    """Sums of what has 16 bits are kept in 32."""
    is_float = jnp.issubdtype(array.dtype, jnp.floating)
    return array.astype(jnp.float32) if is_float else array


def _sum(array: Any, **where: Any) -> Any:
    return jnp.sum(_wide(array), **where)


def _mean(array: Any, **where: Any) -> Any:
    return jnp.mean(_wide(array), **where)


def _product(array: Any, **where: Any) -> Any:
    return jnp.prod(_wide(array), **where)


def _l1(array: Any, **where: Any) -> Any:
    return _sum(jnp.abs(array), **where)


def _sum_square(array: Any, **where: Any) -> Any:
    return jnp.sum(jnp.square(_wide(array)), **where)


def _l2(array: Any, **where: Any) -> Any:
    return jnp.sqrt(_sum_square(array, **where).astype(jnp.float32))


def _log_sum(array: Any, **where: Any) -> Any:
    return jnp.log(_sum(array, **where))


def _log_sum_exp(array: Any, **where: Any) -> Any:
    return jax.scipy.special.logsumexp(_wide(array), **where)


def _cumulated(call: Call) -> Any:
    array, (axis,) = call.array(), call.sizes(1)
    if call.attribute("reverse", 0):
        array = jnp.flip(array, axis)
    found = jnp.cumsum(_wide(array), axis, dtype=None).astype(array.dtype)
    if call.attribute("exclusive", 0):
        found = found - array
    return jnp.flip(found, axis) if call.attribute("reverse", 0) else found


OPERATORS: dict[str, Operator] = {
    **{"ReduceSum": _reduction(_sum), "ReduceMean": _reduction(_mean), "CumSum": _cumulated},
    **{"ReduceProd": _reduction(_product), "ReduceMax": _reduction(jnp.max)},
    **{"ReduceMin": _reduction(jnp.min), "ReduceL1": _reduction(_l1), "ReduceL2": _reduction(_l2)},
    **{"ReduceSumSquare": _reduction(_sum_square), "ReduceLogSum": _reduction(_log_sum)},
    "ReduceLogSumExp": _reduction(_log_sum_exp),
}
