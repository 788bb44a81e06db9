"""Normalisations; what they sum is summed in fp32, whatever the model computes in."""

from __future__ import annotations

import math
from typing import Any

from compilers.tpu.onnx.call import Call, Operator
from compilers.tpu.onnx.jaxed import jnp, lax
from model_repo.errors import Unsupported


def _channels(values: Any, rank: int) -> Any:
    """A list with a number for each channel, shaped to lie along axis 1."""
    return values.astype(jnp.float32).reshape(1, -1, *[1] * (rank - 2))


def _batch_norm(call: Call) -> Any:
    if call.attribute("training_mode", 0) or len([name for name in call.node.output if name]) > 1:
        raise Unsupported("it is in training mode: export the model for inference")
    array = call.array()
    scale, bias, mean, variance = (_channels(call.array(i), array.ndim) for i in range(1, 5))
    factor = scale * lax.rsqrt(variance + call.attribute("epsilon", 1e-5))
    return ((array.astype(jnp.float32) - mean) * factor + bias).astype(array.dtype)


def _normed(array: Any, axes: tuple[int, ...], epsilon: float) -> tuple[Any, Any, Any]:
    """(x - mean) / sqrt(variance + epsilon), the mean, and one over that root."""
    wide = array.astype(jnp.float32)
    mean = jnp.mean(wide, axes, keepdims=True)
    inverse = lax.rsqrt(jnp.mean(jnp.square(wide - mean), axes, keepdims=True) + epsilon)
    return (wide - mean) * inverse, mean, inverse


def _layer_norm(call: Call) -> Any:
    array = call.array()
    axes = tuple(range(call.axis(array.ndim, -1), array.ndim))
    found, mean, inverse = _normed(array, axes, call.attribute("epsilon", 1e-5))
    found = found * call.array(1)
    if call.has(2):
        found = found + call.array(2)
    return tuple([found.astype(array.dtype), mean, inverse][: len(call.node.output)])


def _rms_norm(call: Call) -> Any:
    array = call.array()
    axes = tuple(range(call.axis(array.ndim, -1), array.ndim))
    wide = array.astype(jnp.float32)
    square = jnp.mean(jnp.square(wide), axes, keepdims=True)
    found = wide * lax.rsqrt(square + call.attribute("epsilon", 1e-5))
    return (found * call.array(1)).astype(array.dtype)


def _instance_norm(call: Call) -> Any:
    array = call.array()
    axes = tuple(range(2, array.ndim))
    found, _, _ = _normed(array, axes, call.attribute("epsilon", 1e-5))
    scale, bias = (_channels(call.array(place), array.ndim) for place in (1, 2))
    return (found * scale + bias).astype(array.dtype)


def _group_norm(call: Call) -> Any:
    array, groups = call.array(), call.attribute("num_groups")
    scale, bias = call.array(1), call.array(2)
    if call.version < 21:  # a number for each group then, for each channel since
        each = array.shape[1] // groups
        scale, bias = jnp.repeat(scale, each), jnp.repeat(bias, each)
    parts = array.reshape(array.shape[0], groups, -1)
    found, _, _ = _normed(parts, (2,), call.attribute("epsilon", 1e-5))
    whole = found.reshape(array.shape)
    return (whole * _channels(scale, array.ndim) + _channels(bias, array.ndim)).astype(array.dtype)


def _lp_norm(call: Call) -> Any:
    array, p = call.array(), call.attribute("p", 2)
    axis = call.axis(array.ndim, -1)
    powers = jnp.sum(jnp.abs(array.astype(jnp.float32)) ** p, axis, keepdims=True)
    length = powers ** (1 / p)
    return jnp.where(length == 0, 0, array / length).astype(array.dtype)


def _local_response(call: Call) -> Any:
    array, size = call.array(), call.attribute("size")
    squares = jnp.square(array.astype(jnp.float32))
    around = [(0, 0)] * array.ndim
    around[1] = (math.floor((size - 1) / 2), math.ceil((size - 1) / 2))
    window = [1] * array.ndim
    window[1] = size
    zero = jnp.zeros((), jnp.float32)
    total = lax.reduce_window(squares, zero, lax.add, window, [1] * array.ndim, around)
    factor = call.attribute("bias", 1.0) + call.attribute("alpha", 1e-4) / size * total
    return (array / factor ** call.attribute("beta", 0.75)).astype(array.dtype)


OPERATORS: dict[str, Operator] = {
    **{
        "BatchNormalization": _batch_norm,
        "LayerNormalization": _layer_norm,
        "LRN": _local_response,
    },
    **{"InstanceNormalization": _instance_norm, "GroupNormalization": _group_norm},
    **{"RMSNormalization": _rms_norm, "LpNormalization": _lp_norm},
}
