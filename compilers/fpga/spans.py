"""The least fixed-point type that holds every number which a layer may bring about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compilers.fpga.fixed import Affine, Rectify
from model_repo.errors import Unsupported
from model_repo.rtl import Fraction
from model_repo.tensors import Array

MOST_BITS = 53
"""What a float64 holds, in which the fixed-point network is computed."""


@dataclass(frozen=True)
class Span:
    """Multiples of 2^-fraction from low to high, 0 among them."""

    low: float
    high: float
    fraction: int

    @property
    def bits(self) -> int:
        """The width of the type."""
        low, high = int(np.ldexp(self.low, self.fraction)), int(np.ldexp(self.high, self.fraction))
        wide = max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0) + (low < 0)
        return max(wide, 1)

    @property
    def type(self) -> str:
        """As HLS writes it."""
        return f"ap_{'' if self.low < 0 else 'u'}fixed<{self.bits},{self.bits - self.fraction}>"


def of_format(given: Fraction) -> Span:
    """All that a format can say."""
    low = -(2.0 ** (given.bits - 1)) if given.signed else 0.0
    high = low + 2.0**given.bits - 1
    return Span(np.ldexp(low, -given.fraction), np.ldexp(high, -given.fraction), given.fraction)


def of_numbers(values: Array) -> Span:
    """Those numbers and 0, signed in any case."""
    fraction = next((f for f in range(64) if _are_whole(np.ldexp(values, f))), 64)
    step = 2.0**-fraction
    return Span(min(float(values.min()), -step), max(float(values.max()), 0.0), fraction)


def _are_whole(values: Array) -> bool:
    return bool((values == np.rint(values)).all())


def of_sums(layer: Affine, given: Span, name: str) -> Span:
    """Every answer of the layer and every sum on the way to one, in any order, bias first.

    Raises Unsupported if that takes more bits than a float64 has.
    """
    ends = np.stack([layer.weights * given.low, layer.weights * given.high])
    low = layer.bias + np.minimum(ends.min(0), 0).sum(0)
    high = layer.bias + np.maximum(ends.max(0), 0).sum(0)
    fraction = max(
        of_numbers(layer.weights).fraction + given.fraction, of_numbers(layer.bias).fraction
    )
    found = Span(min(float(low.min()), 0.0), max(float(high.max()), 0.0), fraction)
    if found.bits > MOST_BITS:
        raise Unsupported(
            f"the sums of the layer {name!r} take {found.bits} bits, and at most {MOST_BITS} are "
            "computed exactly: take fewer bits for weights and activations"
        )
    return found


def of_relu(layer: Rectify) -> Span:
    """All that the layer can give."""
    most = np.ldexp(2.0**layer.bits - 1, -layer.fraction)
    return Span(0.0, float(most), layer.fraction)
