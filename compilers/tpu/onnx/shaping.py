"""Operators that only move numbers, or repeat them: their shapes may hold the batch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from compilers.tpu.onnx.call import Call, Operator
from compilers.tpu.onnx.elementwise import dtype_of
from compilers.tpu.onnx.jaxed import jax, jnp, lax
from model_repo.errors import Unsupported
from model_repo.tensors import Array


def sized(shape: tuple[Any, ...]) -> Array:
    """The sizes of a tensor as a constant; of objects if the batch is among them."""
    if all(isinstance(size, int) for size in shape):
        return np.array(shape, np.int64)
    found = np.empty(len(shape), object)
    found[:] = shape
    return found


def _shape(call: Call) -> Any:
    shape = call.values[0].whole.shape if hasattr(call.values[0], "whole") else call.array().shape
    return sized(shape[call.attribute("start", 0) : call.attribute("end", len(shape))])


def _reshape(call: Call) -> Any:
    array, wanted = call.array(), call.sizes(1)
    if not call.attribute("allowzero", 0):
        wanted = [
            array.shape[place] if isinstance(size, int) and size == 0 else size
            for place, size in enumerate(wanted)
        ]
    return jnp.reshape(array, tuple(wanted))


def _flatten(call: Call) -> Any:
    array = call.array()
    axis = call.axis(array.ndim, 1)
    return jnp.reshape(array, (math.prod(array.shape[:axis]), math.prod(array.shape[axis:])))


def _transpose(call: Call) -> Any:
    return jnp.transpose(call.array(), call.attribute("perm"))


def _squeeze(call: Call) -> Any:
    array, axes = call.array(), call.listed("axes", 1)
    return jnp.squeeze(array, None if axes is None else tuple(axes))


def _unsqueeze(call: Call) -> Any:
    axes = call.listed("axes", 1)
    return jnp.expand_dims(call.array(), tuple(axes or ()))


def _concat(call: Call) -> Any:
    return jnp.concatenate(call.arrays(), call.attribute("axis"))


def _split(call: Call) -> Any:
    array = call.array()
    axis = call.axis(array.ndim)
    sizes = call.listed("split", 1)
    if sizes is None:
        parts = call.attribute("num_outputs", len(call.node.output))
        each = -(-array.shape[axis] // parts)
        sizes = [each] * (parts - 1) + [array.shape[axis] - each * (parts - 1)]
    ends = np.cumsum(sizes)
    return tuple(
        lax.slice_in_dim(array, int(end) - size, int(end), axis=axis)
        for end, size in zip(ends, sizes, strict=True)
    )


def _expand(call: Call) -> Any:
    array, wanted = call.array(), tuple(call.sizes(1))
    return jnp.broadcast_to(array, _broadcast(array.shape, wanted))


def _broadcast(one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...]:
    rank = max(len(one), len(other))
    pairs = zip((1,) * (rank - len(one)) + one, (1,) * (rank - len(other)) + other, strict=True)
    return tuple(b if isinstance(a, int) and a == 1 else a for a, b in pairs)


def _tile(call: Call) -> Any:
    return jnp.tile(call.array(), tuple(call.sizes(1)))


def _pad(call: Call) -> Any:
    array, given, mode = call.array(), call.sizes(1), call.attribute("mode", "constant")
    axes = call.sizes(3) if call.has(3) else range(array.ndim)
    pads = [(0, 0)] * array.ndim
    for place, axis in enumerate(axes):
        pads[axis] = (given[place], given[place + len(given) // 2])
    if mode == "constant":
        value = call.array(2).reshape(()).astype(array.dtype) if call.has(2) else 0
        value = jnp.asarray(value, array.dtype)
        return lax.pad(array, value, [(before, after, 0) for before, after in pads])
    if any(side < 0 for pair in pads for side in pair):
        raise Unsupported(f"mode {mode} with negative pads")
    return jnp.pad(array, pads, {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}[mode])


def _constant_of_shape(call: Call) -> Any:
    from onnx import numpy_helper

    given = call.attribute("value")
    value = np.zeros(1, np.float32) if given is None else numpy_helper.to_array(given)
    return jnp.broadcast_to(call.convert(value.reshape(())), tuple(call.sizes(0)))


def _range(call: Call) -> Any:
    start, limit, delta = (call.sizes(place)[0] for place in range(3))
    if any(call.known(place).dtype.kind == "f" for place in range(3)):
        raise Unsupported("a range of numbers in floating point")
    return jnp.arange(start, limit, delta, dtype=jnp.int32)


def _trilu(call: Call) -> Any:
    k = call.sizes(1)[0] if call.has(1) else 0
    return (jnp.triu if call.attribute("upper", 1) else jnp.tril)(call.array(), k)


def _eye_like(call: Call) -> Any:
    array, element = call.array(), call.attribute("dtype")
    dtype = array.dtype if element is None else dtype_of(element)
    return jnp.eye(*array.shape, k=call.attribute("k", 0), dtype=dtype)


def _one_hot(call: Call) -> Any:
    where, (depth,), values = call.array(0), call.sizes(1), call.array(2)
    where = where.astype(jnp.int32)
    hot = jax.nn.one_hot(jnp.mod(where, depth), depth, axis=call.attribute("axis", -1), dtype=bool)
    is_in = (where >= -depth) & (where < depth)
    hot &= jnp.expand_dims(is_in, call.attribute("axis", -1))
    return jnp.where(hot, values[1], values[0])


def _depth_to_space(call: Call) -> Any:
    array, size = call.array(), call.attribute("blocksize")
    n, c, h, w = array.shape
    if call.attribute("mode", "DCR") == "DCR":
        parts = array.reshape(n, size, size, c // size**2, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        parts = array.reshape(n, c // size**2, size, size, h, w).transpose(0, 1, 4, 2, 5, 3)
    return parts.reshape(n, c // size**2, h * size, w * size)


def _space_to_depth(call: Call) -> Any:
    array, size = call.array(), call.attribute("blocksize")
    n, c, h, w = array.shape
    order = (0, 3, 5, 1, 2, 4) if call.attribute("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    parts = array.reshape(n, c, h // size, size, w // size, size).transpose(order)
    return parts.reshape(n, c * size**2, h // size, w // size)


def _size(call: Call) -> Any:
    found = sized((math.prod(call.array().shape),))
    return found.reshape(())


OPERATORS: dict[str, Operator] = {
    **{"Shape": _shape, "Size": _size, "Reshape": _reshape, "Flatten": _flatten, "Tile": _tile},
    **{"Transpose": _transpose, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Pad": _pad},
    **{"Concat": _concat, "Split": _split, "Expand": _expand, "Range": _range, "Trilu": _trilu},
    **{"ConstantOfShape": _constant_of_shape, "EyeLike": _eye_like, "OneHot": _one_hot},
    **{"DepthToSpace": _depth_to_space, "SpaceToDepth": _space_to_depth},
}
