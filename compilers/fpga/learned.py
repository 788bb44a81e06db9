"""A chain of layers rebuilt with brevitas, for training, and read back as fixed-point maths."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from math import log2
from typing import TYPE_CHECKING, Any

import numpy as np

from compilers.fpga.chain import Link
from compilers.fpga.fixed import Affine, Largest, Layer, Rectify
from model_repo.rtl import Fraction
from model_repo.tensors import Array

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Bits:
    """How many bits weights, biases and the answers of a ReLU have."""

    weights: int
    biases: int
    activations: int


def rebuild(links: Sequence[Link], shape: Fraction, bits: Bits) -> nn.Sequential:
    """The chain with brevitas layers: every scale a power of two, ReLUs that cut bits off.

    Their weights are those of the links; its input is rounded to `shape`.
    """
    from torch import nn

    layers = [("input", _rounding(shape))]
    spread: tuple[int, ...] = ()
    for number, link in enumerate(links):
        if link.taps is not None and len(link.shape) == 1 and len(spread) != 1:
            layers.append((f"flatten{number}", nn.Flatten()))
        layers.append((f"layer{number}", _layer(link, bits)))
        spread = link.shape
    if len(spread) != 1:
        layers.append(("flatten", nn.Flatten()))
    return nn.Sequential(OrderedDict(layers))


def _rounding(shape: Fraction) -> nn.Module:
    import torch

    class Rounding(torch.nn.Module):
        """The input as the circuit is given it: the same numbers as `Fraction.codes`."""

        def forward(self, values: Tensor) -> Tensor:
            low = -(2 ** (shape.bits - 1)) if shape.signed else 0
            step = 2.0**-shape.fraction
            return torch.round(values / step).clamp(low, low + 2**shape.bits - 1) * step

    return Rounding()


def _layer(link: Link, bits: Bits) -> nn.Module:
    import brevitas.nn as qnn
    import torch
    from brevitas.inject.enum import FloatToIntImplType
    from brevitas.quant import fixed_point

    # The 8 in the names is only what they start from.
    quantizers = {
        "bias": True,
        "weight_quant": fixed_point.Int8WeightPerChannelFixedPoint,
        "weight_bit_width": bits.weights,
        "bias_quant": fixed_point.Int8BiasPerTensorFixedPointInternalScaling,
        "bias_bit_width": bits.biases,
    }
    given: Any = link.layer
    made: Any = given
    if isinstance(given, torch.nn.ReLU):
        relu: nn.Module = qnn.QuantReLU(
            act_quant=fixed_point.Uint8ActPerTensorFixedPoint,
            bit_width=bits.activations,
            # Dropping bits is what a circuit does for nothing.
            float_to_int_impl_type=FloatToIntImplType.FLOOR,
            collect_stats_steps=1,
        )
        return relu
    if isinstance(given, torch.nn.Linear):
        made = qnn.QuantLinear(given.in_features, given.out_features, **quantizers)
    elif isinstance(given, torch.nn.Conv2d):
        made = qnn.QuantConv2d(
            given.in_channels,
            given.out_channels,
            given.kernel_size,
            given.stride,
            given.padding,
            **quantizers,
        )
    if made is not given:
        with torch.no_grad():
            made.weight.copy_(link.weight)
            made.bias.copy_(link.bias)
    layer: nn.Module = made
    return layer


def settle(module: nn.Module, rows: Tensor) -> None:
    """Let the ReLUs take their first scales from what `rows` bring about."""
    import torch

    module.train()
    with torch.no_grad():
        for _ in range(2):  # once to look, once to start from what was seen
            module(rows)
    module.eval()


def exported(module: Any, links: Sequence[Link], bits: Bits) -> tuple[Layer, ...]:
    """What the trained chain computes, as exact numbers."""
    layers: list[Layer] = []
    for number, link in enumerate(links):
        made = getattr(module, f"layer{number}")
        if link.taps is None:
            layers.append(_rectify(made, bits))
        elif link.weight is not None:
            layers.append(_affine(made, link.taps))
        elif type(link.layer).__name__ == "MaxPool2d":
            layers.append(Largest(link.taps))
        else:
            share = np.full((link.taps.shape[1], 1), 1 / link.taps.shape[1])
            layers.append(Affine(share, np.zeros(1), link.taps))
    return tuple(layers)


def _affine(made: Any, taps: Array) -> Affine:
    weight = made.quant_weight().value.detach().double().numpy()
    bias = made.quant_bias().value.detach().double().numpy()
    return Affine(np.ascontiguousarray(weight.reshape(len(weight), -1).T), bias, taps)


def _rectify(made: Any, bits: Bits) -> Rectify:
    fraction = -log2(float(made.act_quant.scale()))
    assert fraction.is_integer(), "brevitas was asked for scales that are powers of two"
    return Rectify(bits.activations, int(fraction))
