"""Guess from the weights alone how many look-up tables a network takes, before it is unrolled."""

from __future__ import annotations

import numpy as np

from compilers.fpga.fixed import Affine, FixedModel, Largest, Layer, Rectify
from model_repo.tensors import Array

SHARED, BY_INPUT, BY_OUTPUT = 1.107, -0.095, -0.128
"""What part of the additions is left once common sums are computed once: SHARED times powers of how
many there are to an input and to an output; fitted to 66 matrices of 9 to 128 inputs, 4 to 32
outputs, 2 to 6 bits and up to 80 % of zeros, each of them met within 17 %."""
TOO_HIGH = 1.5
"""How far the guess was above what unrolling came to, at most, for ten trained networks; the least
was 0.99 of it. Only a network that is too large even so is refused by the guess."""


def luts(model: FixedModel) -> float:
    """The adder bits of the unrolled network: what da4ml calls its cost, in LUTs."""
    bits = float(model.format.bits)
    total = 0.0
    for layer in model.layers:
        taken, bits = _layer(layer, bits)
        total += taken
    return total


def _layer(layer: Layer, bits: float) -> tuple[float, float]:
    """The adder bits of a layer, and how many bits each of its answers has."""
    if isinstance(layer, Rectify):
        return 0.0, float(layer.bits)
    if isinstance(layer, Largest):
        return 2 * bits * layer.taps[:, 1:].size, bits
    digits = signed_digits(layer.weights)
    seen = layer.taps >= 0
    terms = seen.astype(np.float64) @ digits  # [places, channels]
    additions = np.maximum(terms + (layer.bias != 0) - 1, 0)
    wide = bits + _reach(layer)
    return float(additions.sum(1) @ _shared(additions, seen)) * wide, wide


def _shared(additions: Array, seen: Array) -> Array:
    """By place: the part of its additions that is left."""
    count = additions.sum(1)
    to_input = 1 + count / np.maximum(1, seen.sum(1))
    to_output = 1 + count / additions.shape[1]
    share: Array = SHARED * to_input**BY_INPUT * to_output**BY_OUTPUT
    return share


def _reach(layer: Affine) -> float:
    """How many bits a sum has more than the values that it is made of, about."""
    used = layer.weights[layer.weights != 0]
    if not len(used):
        return 0.0
    # Half of them: the first sums of a tree are narrow.
    return float(np.log2(max(2.0, np.abs(layer.weights / np.abs(used).min()).sum(0).max()))) / 2


def signed_digits(weights: Array) -> Array:
    """How many digits -1 and 1 each weight has in canonical signed-digit form (Reitwiesner 1960),
    in units of the smallest bit there is among them."""
    whole = _whole(weights)
    # A number's canonical digits are where it and three times it differ.
    digits: Array = np.bitwise_count(whole ^ 3 * whole).astype(np.float64)
    return digits


def _whole(weights: Array) -> Array:
    """Whole numbers in proportion to the weights, which are multiples of a power of two."""
    size = np.abs(weights)
    for shift in range(64):
        scaled = np.ldexp(size, shift)
        if (scaled == np.rint(scaled)).all():
            return scaled.astype(np.int64)
    return np.ldexp(size, 40).astype(np.int64)
