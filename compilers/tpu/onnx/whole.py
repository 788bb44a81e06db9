"""Products of what is quantized to 8 bits, computed in int8 and summed in int32.

With q the whole numbers and z the zero points, sum (qa - za) qb = sum qa qb - za sum qb: exact,
and the zero point costs no product. Unsigned numbers become signed, with their zero point, by
taking 128 from both: TPUs multiply int8.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from compilers.tpu.onnx.jaxed import jnp, lax
from compilers.tpu.onnx.values import Quantized
from compilers.tpu.onnx.windows import Windows

_BYTES = ("int8", "uint8")
_EXACT = 2**24 // 2**14
"""How many products of two int8 may be summed in fp32, which holds whole numbers up to 2^24."""


def signed(whole: Any, zero_point: Any) -> tuple[Any, Any]:
    """An 8-bit array and its zero point as int8 and int32."""
    zero = np.zeros((), np.int32) if zero_point is None else zero_point.astype(np.int32)
    if whole.dtype.name == "int8":
        return whole, zero
    return (whole.astype(np.int16) - 128).astype(np.int8), zero - 128


def total(whole: Any, axes: Any, **options: Any) -> Any:
    """Sums over axes in int32; those of constants at once, since XLA takes seconds to."""
    library = np if isinstance(whole, np.ndarray) else jnp
    return library.sum(whole, axes, dtype=np.int32, **options)


def is_fit(left: Any, right: Any, axis: int | None) -> bool:
    """Whether a product of both is exact in integers: 8 bits, one scale for all that is summed.

    left: must have one scale, and its zero point. right: may have one scale for each place along
    `axis`, which is not summed over; its zero points must be known to be 0.
    """
    if not isinstance(left, Quantized) or not isinstance(right, Quantized):
        return False
    if left.whole.dtype.name not in _BYTES or right.whole.dtype.name not in _BYTES:
        return False
    is_one = np.size(right.scale) == 1
    is_along = is_one or (axis is not None and right.axis % right.whole.ndim == axis)
    return _size(left.scale) == 1 and is_along and _is_symmetric(right)


def _size(scale: Any) -> int:
    found: int = scale.size
    return found


def _is_symmetric(value: Quantized) -> bool:
    zero = value.zero_point
    if value.whole.dtype.name != "int8":
        return False
    return zero is None or (isinstance(zero, np.ndarray) and not zero.any())


def whole_convolution(array: Any, weight: Any, where: Windows, groups: int) -> Any:
    """A convolution of int8 without padding, summed in int32: exact everywhere.

    CPUs have no fast one of int8, and compute it in fp32, as many channels at once as stay exact.
    """
    options: dict[str, Any] = {"window_strides": where.strides, "rhs_dilation": where.dilations}

    def in_integers(array: Any, weight: Any) -> Any:
        one_pass = {**options, "precision": lax.Precision.DEFAULT, "feature_group_count": groups}
        return _convolution(array, weight, jnp.int32, **one_pass)

    def in_floats(array: Any, weight: Any) -> Any:
        channels = weight.shape[1]
        each = channels if groups > 1 else max(1, _EXACT // int(np.prod(weight.shape[2:])))
        array, weight = array.astype(jnp.float32), weight.astype(jnp.float32)
        parts = [
            _convolution(
                array if groups > 1 else array[:, start : start + each],
                weight[:, start : start + each],
                jnp.float32,
                feature_group_count=groups,
                **options,
            ).astype(jnp.int32)
            for start in range(0, channels, each)
        ]
        return sum(parts[1:], parts[0])

    is_exact = groups == 1 or np.prod(weight.shape[1:]) <= _EXACT
    on_cpu = in_floats if is_exact else in_integers
    return lax.platform_dependent(array, weight, cpu=on_cpu, default=in_integers)


def _convolution(array: Any, weight: Any, summed_in: Any, **options: Any) -> Any:
    return lax.conv_general_dilated(
        array, weight, padding="VALID", preferred_element_type=summed_in, **options
    )
