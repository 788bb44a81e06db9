"""The greatest, the mean or the norm of what a window sees."""

from __future__ import annotations

from typing import Any

import numpy as np

from compilers.tpu.onnx.call import Call, Operator
from compilers.tpu.onnx.jaxed import jnp, lax
from compilers.tpu.onnx.windows import Windows, windows
from model_repo.errors import Unsupported


def _reduced(array: Any, where: Windows, start: Any, compute: Any, pads: Any) -> Any:
    return lax.reduce_window(
        array,
        jnp.asarray(start, array.dtype),
        compute,
        window_dimensions=(1, 1, *where.kernel),
        window_strides=(1, 1, *where.strides),
        padding=((0, 0), (0, 0), *pads),
        window_dilation=(1, 1, *where.dilations),
    )


def _placed(call: Call, array: Any) -> tuple[Windows, list[tuple[int, int]]]:
    """The windows, and the padding with what ceil_mode adds at the ends."""
    kernel = tuple(call.attribute("kernel_shape"))
    where = windows(call, array.shape[2:], kernel)
    if not call.attribute("ceil_mode", 0):
        return where, list(where.pads)
    pads = []
    axes = zip(array.shape[2:], where.spans, where.strides, where.pads, strict=True)
    for size, span, stride, (before, after) in axes:
        count = -(-(size + before + after - span) // stride) + 1
        if (count - 1) * stride >= size + before:  # it would see nothing but padding
            count -= 1
        pads.append((before, max(after, (count - 1) * stride + span - size - before)))
    return where, pads


def _max_pool(call: Call) -> Any:
    if len(call.node.output) > 1:
        raise Unsupported("the places of the greatest, its second output")
    array = call.array()
    where, pads = _placed(call, array)
    is_whole = jnp.issubdtype(array.dtype, jnp.integer)
    least = jnp.iinfo(array.dtype).min if is_whole else -np.inf
    return _reduced(array, where, least, lax.max, pads)


def _average_pool(call: Call) -> Any:
    array = call.array()
    where, pads = _placed(call, array)
    total = _reduced(array.astype(jnp.float32), where, 0, lax.add, pads)
    ones = jnp.ones((1, 1, *array.shape[2:]), jnp.float32)
    if call.attribute("count_include_pad", 0):
        inside = [(0, 0), (0, 0), *where.pads]
        ones = jnp.pad(ones, inside, constant_values=1)
        pads = [(0, after - given) for (_, after), (_, given) in zip(pads, where.pads, strict=True)]
    return (total / _reduced(ones, where, 0, lax.add, pads)).astype(array.dtype)


def _lp_pool(call: Call) -> Any:
    array, p = call.array(), call.attribute("p", 2)
    where, pads = _placed(call, array)
    powers = jnp.abs(array.astype(jnp.float32)) ** p
    return (_reduced(powers, where, 0, lax.add, pads) ** (1 / p)).astype(array.dtype)


def _global(name: str) -> Operator:
    def apply(call: Call) -> Any:
        array = call.array()
        axes = tuple(range(2, array.ndim))
        wide = array.astype(jnp.float32)
        return getattr(jnp, name)(wide, axes, keepdims=True).astype(array.dtype)

    return apply


OPERATORS: dict[str, Operator] = {
    **{"MaxPool": _max_pool, "AveragePool": _average_pool, "LpPool": _lp_pool},
    **{"GlobalAveragePool": _global("mean"), "GlobalMaxPool": _global("max")},
}
