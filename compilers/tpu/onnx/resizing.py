"""Larger and smaller images, each axis by itself: a product with a matrix, or a look-up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from compilers.tpu.onnx.call import Call, Operator
from compilers.tpu.onnx.jaxed import jnp
from model_repo.errors import Unsupported
from model_repo.tensors import Array


def _resize(call: Call) -> Any:
    array, mode = call.array(), call.attribute("mode", "nearest")
    if call.attribute("antialias", 0) or mode not in ("nearest", "linear", "cubic"):
        raise Unsupported(f"mode {mode} with antialias {call.attribute('antialias', 0)}")
    shape, scales, axes = _wanted(call, array)
    for axis in axes:
        if shape[axis] is array.shape[axis] or shape[axis] == array.shape[axis]:
            continue
        array = _along(call, array, axis, shape[axis], scales[axis], mode)
    return array


def _wanted(call: Call, array: Any) -> tuple[list[Any], list[float], list[int]]:
    """For each axis the size it gets and how much larger that is, and the axes that change."""
    axes = [axis % array.ndim for axis in call.attribute("axes", range(array.ndim))]
    shape, scales = list(array.shape), [1.0] * array.ndim
    if call.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Unsupported("a policy that keeps the aspect ratio")
    if call.has(3):
        for axis, size in zip(axes, call.sizes(3), strict=True):
            if isinstance(size, int) and isinstance(shape[axis], int):
                scales[axis] = size / shape[axis]
            shape[axis] = size
        return shape, scales, axes
    for axis, scale in zip(axes, call.known(2).tolist(), strict=True):
        scales[axis] = scale
        if scale != 1.0:
            shape[axis] = int(np.floor(array.shape[axis] * scale))
    return shape, scales, axes


def _along(call: Call, array: Any, axis: int, size: Any, scale: float, mode: str) -> Any:
    before = array.shape[axis]
    if not isinstance(before, int) or not isinstance(size, int):
        raise Unsupported(f"an axis of {before} becomes one of {size}: both must be known")
    places = _places(call, before, size, scale)
    if mode == "nearest":
        chosen = np.clip(_nearest(call, places), 0, before - 1).astype(np.int32)
        return jnp.take(array, chosen, axis)
    weights = _weights(places, before, mode, call)
    moved = jnp.moveaxis(array.astype(jnp.float32), axis, -1)
    found = jnp.matmul(moved, jnp.asarray(weights.T.astype(np.float32)))
    return jnp.moveaxis(found, -1, axis).astype(array.dtype)


def _places(call: Call, before: int, size: int, scale: float) -> Array:
    """Where each new number lies among the old: formulas of the operator's specification."""
    x, mode = np.arange(size), call.attribute("coordinate_transformation_mode", "half_pixel")
    if mode == "half_pixel_symmetric":
        offset = before / 2 * (1 - size / (scale * before))
        return offset + (x + 0.5) / scale - 0.5
    if mode == "half_pixel":
        return (x + 0.5) / scale - 0.5
    if mode == "pytorch_half_pixel":
        return (x + 0.5) / scale - 0.5 if size > 1 else np.zeros(1)
    if mode == "asymmetric":
        return x / scale
    if mode == "align_corners":
        return x * (before - 1) / (scale * before - 1) if size > 1 else np.zeros(1)
    raise Unsupported(f"coordinates by {mode}")


def _nearest(call: Call, places: Array) -> Array:
    modes: dict[str, Callable[[Array], Array]] = {
        "round_prefer_floor": lambda x: np.ceil(x - 0.5),
        "round_prefer_ceil": lambda x: np.floor(x + 0.5),
        "floor": np.floor,
        "ceil": np.ceil,
    }
    return modes[call.attribute("nearest_mode", "round_prefer_floor")](places)


def _weights(places: Array, before: int, mode: str, call: Call) -> Array:
    """How much of each old number is in each new one: [size, before]."""
    found = np.zeros((len(places), before))
    reach = 1 if mode == "linear" else 2
    first = np.floor(places).astype(int)
    for step in range(1 - reach, reach + 1):
        at = first + step
        away = np.abs(places - at)
        share = (
            1 - away if mode == "linear" else _cubic(away, call.attribute("cubic_coeff_a", -0.75))
        )
        if call.attribute("exclude_outside", 0):
            share = np.where((at < 0) | (at >= before), 0, share)
        np.add.at(found, (np.arange(len(places)), np.clip(at, 0, before - 1)), share)
    shares: Array = found / found.sum(1, keepdims=True)
    return shares


def _cubic(away: Array, a: float) -> Array:
    """The kernel of cubic convolution (Keys 1981), at distances of up to 2."""
    near = ((a + 2) * away - (a + 3)) * away**2 + 1
    far = ((away - 5) * away + 8) * away * a - 4 * a
    return np.where(away <= 1, near, far)


OPERATORS: dict[str, Operator] = {"Resize": _resize}
