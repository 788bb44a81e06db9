"""Operators that look numbers up, put them in places, or sort them."""

from __future__ import annotations

from typing import Any

import numpy as np

from compilers.tpu.onnx.call import Call, Operator
from compilers.tpu.onnx.jaxed import jnp, lax
from model_repo.errors import Unsupported


def _wrapped(where: Any, size: Any) -> Any:
    """Places counted from the front: negative ones count from the end."""
    where = where.astype(jnp.int32)
    return jnp.where(where < 0, where + size, where)


def _gather(call: Call) -> Any:
    array, where = call.array(0), call.array(1)
    axis = call.axis(array.ndim)
    return jnp.take(array, _wrapped(where, array.shape[axis]), axis=axis, mode="clip")


def _gather_elements(call: Call) -> Any:
    array, where = call.array(0), call.array(1)
    axis = call.axis(array.ndim)
    place = _grid(where.shape)
    place[axis] = _wrapped(where, array.shape[axis])
    return array[tuple(place)]


def _grid(shape: tuple[Any, ...]) -> list[Any]:
    """For each axis the place of each element along it."""
    return [lax.broadcasted_iota(jnp.int32, shape, axis) for axis in range(len(shape))]


def _tupled(array: Any, where: Any, batch_axes: int = 0) -> tuple[Any, ...]:
    """What the last axis of `where` points at, as places along the axes of `array`."""
    depth = where.shape[-1]
    lead = [lax.broadcasted_iota(jnp.int32, where.shape[:-1], axis) for axis in range(batch_axes)]
    axes = range(batch_axes, batch_axes + depth)
    found = [_wrapped(where[..., i], array.shape[axis]) for i, axis in enumerate(axes)]
    return (*lead, *found)


def _gather_nd(call: Call) -> Any:
    array, where = call.array(0), call.array(1)
    return array[_tupled(array, where, call.attribute("batch_dims", 0))]


_REDUCTIONS = {"none": "set", "add": "add", "mul": "multiply", "min": "min", "max": "max"}


def _scatter_elements(call: Call) -> Any:
    array, where, updates = call.array(0), call.array(1), call.array(2)
    axis = call.axis(array.ndim)
    place = _grid(where.shape)
    place[axis] = _wrapped(where, array.shape[axis])
    return _put(call, array, tuple(place), updates)


def _scatter_nd(call: Call) -> Any:
    array, where, updates = call.array(0), call.array(1), call.array(2)
    return _put(call, array, _tupled(array, where), updates)


def _put(call: Call, array: Any, place: tuple[Any, ...], updates: Any) -> Any:
    name = _REDUCTIONS[call.attribute("reduction", "none")]
    return getattr(array.at[place], name)(updates)


def _slice(call: Call) -> Any:
    array = call.array()
    starts, ends = call.sizes(1), call.sizes(2)
    axes = call.sizes(3) if call.has(3) else list(range(len(starts)))
    steps = call.sizes(4) if call.has(4) else [1] * len(starts)
    place = [slice(None)] * array.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size = array.shape[axis]
        place[axis] = cut(start, end, step, size)
    return array[tuple(place)]


def cut(start: Any, end: Any, step: int, size: Any) -> slice:
    """The part of an axis that Slice means; raises Unsupported where the batch blurs it."""
    if isinstance(size, int) and isinstance(start, int) and isinstance(end, int):
        return slice(start, None if step < 0 and end < -size else end, step)
    far = np.iinfo(np.int32).max
    is_whole = isinstance(end, int) and (end >= far if step > 0 else end <= -far)
    if step > 0 and isinstance(start, int) and start == 0 and (is_whole or end == size):
        return slice(None, None, step)
    if step == -1 and isinstance(start, int) and start in (-1, far) and is_whole:
        return slice(None, None, -1)
    raise Unsupported(f"it cuts from {start} to {end} out of an axis of {size}")


def _top_k(call: Call) -> Any:
    array, (k,) = call.array(), call.sizes(1)
    axis = call.axis(array.ndim, -1)
    moved = jnp.moveaxis(array, axis, -1)
    # A stable sort leaves equals in their order, as ONNX wants; largest first by turning it over.
    keys = moved if not call.attribute("largest", 1) else _turned(moved)
    order = jnp.argsort(keys, axis=-1, stable=True)[..., :k]
    values = jnp.take_along_axis(moved, order, -1)
    return jnp.moveaxis(values, -1, axis), jnp.moveaxis(order.astype(jnp.int32), -1, axis)


def _turned(array: Any) -> Any:
    return ~array if jnp.issubdtype(array.dtype, jnp.integer) else -array


def _extreme(name: str) -> Operator:
    def apply(call: Call) -> Any:
        array = call.array()
        axis = call.axis(array.ndim)
        if call.attribute("select_last_index", 0):
            found = array.shape[axis] - 1 - getattr(jnp, name)(jnp.flip(array, axis), axis)
        else:
            found = getattr(jnp, name)(array, axis)
        found = found.astype(jnp.int32)
        return jnp.expand_dims(found, axis) if call.attribute("keepdims", 1) else found

    return apply


OPERATORS: dict[str, Operator] = {
    **{"Gather": _gather, "GatherElements": _gather_elements, "GatherND": _gather_nd},
    **{"ScatterElements": _scatter_elements, "ScatterND": _scatter_nd, "Slice": _slice},
    **{"TopK": _top_k, "ArgMax": _extreme("argmax"), "ArgMin": _extreme("argmin")},
}
