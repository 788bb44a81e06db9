"""The arithmetic of b-bit integers: scales, zero points, rounding and saturation, as NumPy.

A real x stands as the integer q = clip(round(x / s) + z, q_min, q_max) and is read back as
s (q - z): Jacob et al. 2018 (arXiv:1712.05877, eq. 1), Krishnamoorthi 2018 (arXiv:1806.08342, 2),
ONNX QuantizeLinear and DequantizeLinear. All of it is in float32, as in the runtimes, and rounds
half to even. Ranges, scales and zero points are scalars, for one tensor, or arrays that broadcast
with it, for one of each channel.
"""

from __future__ import annotations

import numpy as np

from model_repo.errors import BadInput
from model_repo.tensors import Array


def integer_range(bits: int, *, signed: bool) -> tuple[int, int]:
    """(q_min, q_max): (-2^(b-1), 2^(b-1) - 1) if signed, else (0, 2^b - 1)."""
    half = 1 << (bits - 1)
    return (-half, half - 1) if signed else (0, 2 * half - 1)


def range_of(values: Array, axis: int | None = None) -> tuple[Array, Array]:
    """The least and the largest value: of all, or of each slice along `axis`, to broadcast."""
    others = None if axis is None else tuple(i for i in range(values.ndim) if i != axis)
    return values.min(axis=others, keepdims=True), values.max(axis=others, keepdims=True)


def scale_and_zero_point(
    low: Array | float, high: Array | float, bits: int, *, signed: bool, symmetric: bool
) -> tuple[Array, Array]:
    """s, float32, and z, int32, for values seen from `low` to `high`.

    The range is first widened to hold 0, so that 0 (padding, ReLU) stands without error:
    low' = min(low, 0), high' = max(high, 0).

    asymmetric: s = (high' - low') / (2^b - 1), z = clip(round(q_min - low' / s), q_min, q_max).
    symmetric: s = max(-low', high') / (2^(b-1) - 1), and z is 0 if signed, else 2^(b-1); the
    least integer is then out of use, so that x and -x round alike.

    A range that is nothing but 0 has s = 1. Raises BadInput for one that is not finite.
    """
    low, high = np.minimum(low, 0.0, dtype=np.float64), np.maximum(high, 0.0, dtype=np.float64)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise BadInput(
            "a range of values to quantize is not finite: look for NaN and infinity in the weights "
            "and in the calibration rows"
        )
    q_min, q_max = integer_range(bits, signed=signed)
    if symmetric:
        scale = _positive(np.maximum(-low, high) / ((1 << (bits - 1)) - 1))
        return scale, np.full(scale.shape, 0 if signed else 1 << (bits - 1), np.int32)
    scale = _positive((high - low) / (q_max - q_min))
    zero = np.clip(np.rint(q_min - low / scale), q_min, q_max)
    return scale, np.asarray(zero).astype(np.int32)


def _positive(scale: Array) -> Array:
    narrow = np.asarray(scale).astype(np.float32)
    # A range too small for float32 is nothing but 0.
    return np.where(narrow > 0, narrow, np.float32(1))


def quantize(values: Array, scale: Array, zero: Array, bits: int, *, signed: bool) -> Array:
    """q = clip(round(x / s) + z, q_min, q_max), as int8 or uint8; b is at most 8.

    What lies beyond s (q_min - z) and s (q_max - z) saturates: it stands as that end.
    """
    q_min, q_max = integer_range(bits, signed=signed)
    with np.errstate(over="ignore"):  # past the largest float it saturates like all that is large
        steps = np.rint(values.astype(np.float32) / scale)
    whole = np.clip(steps, q_min - zero, q_max - zero) + zero
    return np.asarray(whole).astype(np.int8 if signed else np.uint8)


def dequantize(integers: Array, scale: Array, zero: Array) -> Array:
    """x = s (q - z), float32."""
    return ((integers.astype(np.int32) - zero).astype(np.float32) * scale).astype(np.float32)


def round_trip(
    values: Array,
    low: Array | float,
    high: Array | float,
    bits: int,
    *,
    signed: bool,
    symmetric: bool,
) -> Array:
    """What is left of `values` once they were integers: within s / 2 of them inside the range."""
    scale, zero = scale_and_zero_point(low, high, bits, signed=signed, symmetric=symmetric)
    return dequantize(quantize(values, scale, zero, bits, signed=signed), scale, zero)
