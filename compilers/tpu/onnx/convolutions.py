"""Convolutions over any number of axes, in floating point or in int8."""

from __future__ import annotations

from typing import Any

import numpy as np

from compilers.tpu.onnx.call import Call, Operator
from compilers.tpu.onnx.jaxed import jnp, lax
from compilers.tpu.onnx.products import precision_of
from compilers.tpu.onnx.values import Quantized
from compilers.tpu.onnx.whole import is_fit, signed, total, whole_convolution
from compilers.tpu.onnx.windows import Windows, halved, windows


def _conv(call: Call) -> Any:
    left, right = call.values[:2]
    if is_fit(left, right, 0):
        found = _whole_conv(call, left, right)
    else:
        array, weight = call.array(0), call.array(1)
        where = windows(call, array.shape[2:], weight.shape[2:])
        found = _computed(call, array, weight, where).astype(array.dtype)
    return _biased(call, found)


def _biased(call: Call, found: Any) -> Any:
    if not call.has(2):
        return found
    bias = call.array(2).astype(found.dtype)
    return found + bias.reshape(-1, *[1] * (found.ndim - 2))


def _whole_conv(call: Call, left: Quantized, right: Quantized) -> Any:
    found = _whole_sum(call, left.whole, left.zero_point, right.whole)
    scale = jnp.asarray(left.scale).reshape(()) * jnp.asarray(right.scale).reshape(-1)
    return found.astype(scale.dtype) * scale.reshape(-1, *[1] * (found.ndim - 2))


def _whole_sum(call: Call, whole: Any, zero_point: Any, weight: Any) -> Any:
    """What is padded stands for 0, so it is the zero point, and the same is taken off all."""
    array, zero = signed(whole, zero_point)
    zero = zero.reshape(())
    where = windows(call, array.shape[2:], weight.shape[2:])
    around = [(0, 0, 0), (0, 0, 0), *((before, after, 0) for before, after in where.pads)]
    padded = lax.pad(array, zero.astype(jnp.int8), around)
    group = call.attribute("group", 1)
    found = whole_convolution(padded, weight, where, group)
    sums = total(weight, tuple(range(1, weight.ndim)))
    return found - zero * sums.reshape(-1, *[1] * (found.ndim - 2))


def _computed(call: Call, array: Any, weight: Any, where: Windows) -> Any:
    return lax.conv_general_dilated(
        array,
        weight,
        window_strides=where.strides,
        padding=where.pads,
        rhs_dilation=where.dilations,
        feature_group_count=call.attribute("group", 1),
        precision=precision_of(array),
        preferred_element_type=jnp.float32,
    )


def _conv_integer(call: Call) -> Any:
    zero = call.array(2) if call.has(2) else None
    weight, other = signed(call.values[1], call.array(3) if call.has(3) else None)
    plain = _whole_sum(call, call.array(0), zero, weight)
    if not call.has(3):
        return plain
    # sum (qa - za)(qb - zb): what the zero point of the weights adds is a sum over each window.
    ones = _whole_sum(call, call.array(0), zero, np.ones(weight.shape, np.int8))
    return plain - other.reshape(-1, *[1] * (plain.ndim - 2)) * ones


def _conv_transpose(call: Call) -> Any:
    """The gradient of a convolution: strides spread the input, and the kernel is turned over."""
    array, weight = call.array(0), call.array(1)
    groups, spatial = call.attribute("group", 1), weight.shape[2:]
    where = windows(call, array.shape[2:], spatial)
    pads = _transposed_pads(call, array.shape[2:], where)
    # [in, out / groups, ...] -> [out, in / groups, ...]
    parts = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    turned = jnp.swapaxes(parts, 1, 2).reshape(-1, weight.shape[0] // groups, *spatial)
    found = lax.conv_general_dilated(
        array,
        jnp.flip(turned, range(2, turned.ndim)),
        window_strides=[1] * len(spatial),
        padding=pads,
        lhs_dilation=where.strides,
        rhs_dilation=where.dilations,
        feature_group_count=groups,
        precision=precision_of(array),
        preferred_element_type=jnp.float32,
    )
    return _biased(call, found.astype(array.dtype))


def _transposed_pads(call: Call, sizes: Any, where: Windows) -> list[tuple[int, int]]:
    """Formulas of the operator's specification, as padding of the spread input."""
    rank = len(sizes)
    extra = call.attribute("output_padding", [0] * rank)
    wanted, auto = call.attribute("output_shape"), call.attribute("auto_pad", "NOTSET")
    if wanted is None and auto.startswith("SAME"):
        wanted = [size * stride for size, stride in zip(sizes, where.strides, strict=True)]
    found = []
    for axis, (span, stride) in enumerate(zip(where.spans, where.strides, strict=True)):
        before, after = where.pads[axis]
        if wanted is not None:
            total = stride * (sizes[axis] - 1) + extra[axis] + span - wanted[-rank:][axis]
            before, after = halved(total, auto)
        found.append((span - 1 - before, span - 1 - after + extra[axis]))
    return found


OPERATORS: dict[str, Operator] = {
    **{"Conv": _conv, "ConvTranspose": _conv_transpose, "ConvInteger": _conv_integer},
}
