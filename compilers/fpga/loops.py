"""A fixed-point network as the layers that hls4ml knows, every number of an exact type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from compilers.fpga import images, spans
from compilers.fpga.fixed import Affine, FixedModel, Largest, Layer, Rectify
from compilers.fpga.images import Image, Window
from compilers.fpga.spans import Span
from model_repo.errors import Unsupported
from model_repo.hls import Loop
from model_repo.tensors import Array

INPUT = "x"
Reuse = Callable[[int, int, int], int]
"""The reuse factor of a layer of so many inputs and outputs, and the largest it may be."""


@dataclass(frozen=True)
class Chain:
    """hls4ml's layers in order, the settings of each by its name, and how each is run."""

    layers: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    loops: list[Loop] = field(default_factory=list)

    def add(self, kind: str, loop: Loop, types: dict[str, str], **facts: Any) -> None:
        """Add one that reads the last."""
        before = [self.layers[-1]["name"]] if self.layers else []
        self.layers.append(
            {"class_name": kind, "name": loop.name, "inputs": before, **facts}
            | {"data_format": "channels_last"}
        )
        self.settings[loop.name] = {
            "Precision": types,
            "ReuseFactor": loop.reuse_factor,
            "Strategy": "Resource",
        }
        if before:
            self.loops.append(loop)


def image(shape: Sequence[int]) -> Image:
    """A row's channels, height and width; a row that is no image has pixels of none."""
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    return prod(shape), 1, 1


def read(model: FixedModel, reuse: Reuse) -> tuple[Chain, Image]:
    """The layers of a network, and the shape of its answers.

    Raises Unsupported naming a layer that hls4ml has none for, or none that is exact.
    """
    chain, shape, span = Chain(), image(model.shape), spans.of_format(model.format)
    rounded = span.type.replace(">", ",AP_RND_CONV,AP_SAT>")
    is_flat = shape[1:] == (1, 1)
    channels, height, width = shape
    rows = [channels] if is_flat else [height, width, channels]
    chain.add("InputLayer", Loop(INPUT), {"result": rounded}, input_shape=rows)
    for number, layer in enumerate(model.layers):
        name = f"{type(layer).__name__.lower()}{number}"
        shape, span = _add(chain, name, layer, shape, span, reuse)
    return chain, shape


def _add(
    chain: Chain, name: str, layer: Layer, shape: Image, span: Span, reuse: Reuse
) -> tuple[Image, Span]:
    if isinstance(layer, Rectify):
        span = spans.of_relu(layer)
        limited = span.type.replace(">", ",AP_TRN,AP_SAT>")
        chain.add("Activation", Loop(name), {"result": limited}, activation="relu")
        return shape, span
    if isinstance(layer, Largest):
        window = images.pooling(layer.taps, shape) or _refused(name, "the largest of each window")
        _pool(chain, "MaxPooling2D", name, window, shape, span)
        return (shape[0], *window.size), span
    span = spans.of_sums(layer, span, name)
    if images.is_dense(layer.taps, shape):
        _dense(chain, name, layer, shape, span, reuse)
        return (layer.weights.shape[1], 1, 1), span
    if window := images.convolution(layer.taps, shape):
        _convolution(chain, name, layer, window, shape, span, reuse)
        return (layer.weights.shape[1], *window.size), span
    window = images.pooling(layer.taps, shape) or _refused(name, "a linear or convolution layer")
    if not _is_mean(layer):
        _refused(name, "a mean, with the same weight for every pixel and channel")
    _pool(chain, "AveragePooling2D", name, window, shape, span)
    return (shape[0], *window.size), span


def _refused(name: str, wanted: str) -> Any:
    raise Unsupported(f"the layer {name!r} is not {wanted}, so hls4ml has no exact form of it")


def _is_mean(layer: Affine) -> bool:
    seen = len(layer.weights)
    is_power = seen & (seen - 1) == 0
    return (
        is_power
        and layer.weights.shape[1] == 1
        and not layer.bias.any()
        and bool((layer.weights == 1 / seen).all())
    )


def _types(layer: Affine, span: Span) -> tuple[dict[str, str], int]:
    """Of all numbers of a layer, and how many bits its weights and biases have together."""
    weight, bias = spans.of_numbers(layer.weights), spans.of_numbers(layer.bias)
    types = {"weight": weight.type, "bias": bias.type, "accum": span.type, "result": span.type}
    return types, weight.bits * layer.weights.size + bias.bits * layer.bias.size


def _dense(chain: Chain, name: str, layer: Affine, shape: Image, span: Span, reuse: Reuse) -> None:
    inputs, outputs = layer.weights.shape
    if shape[1:] != (1, 1):
        chain.layers.append(
            {"class_name": "Reshape", "name": f"{name}_flat", "inputs": [chain.layers[-1]["name"]]}
            | {"target_shape": [inputs], "data_format": "channels_last"}
        )
    types, bits = _types(layer, span)
    loop = Loop(name, 1, inputs, outputs, reuse(inputs, outputs, inputs * outputs), bits)
    weights = layer.weights.reshape(*shape, outputs).transpose(1, 2, 0, 3)
    chain.add(
        "Dense",
        loop,
        types,
        n_in=inputs,
        n_out=outputs,
        weight_data=_numbers(weights.reshape(inputs, outputs)),
        bias_data=_numbers(layer.bias),
    )


def _numbers(values: Array) -> Array:
    return np.ascontiguousarray(values, np.float64)


def _convolution(
    chain: Chain, name: str, layer: Affine, window: Window, shape: Image, span: Span, reuse: Reuse
) -> None:
    inputs, outputs = layer.weights.shape
    types, bits = _types(layer, span)
    # Beyond its inputs hls4ml's convolutions answer wrongly.
    factor = reuse(inputs, outputs, inputs)
    loop = Loop(name, prod(window.size), inputs, outputs, factor, bits)
    weights = layer.weights.reshape(shape[0], *window.kernel, outputs).transpose(1, 2, 0, 3)
    chain.add(
        "Conv2D",
        loop,
        types,
        **_places(window, shape, "filt"),
        n_chan=shape[0],
        n_filt=outputs,
        weight_data=_numbers(weights),
        bias_data=_numbers(layer.bias),
    )


def _pool(chain: Chain, kind: str, name: str, window: Window, shape: Image, span: Span) -> None:
    # A mean is summed up first, and divided then.
    whole = replace(span, low=span.low * prod(window.kernel), high=span.high * prod(window.kernel))
    types = {"result": span.type, "accum": whole.type}
    chain.add(kind, Loop(name), types, **_places(window, shape, "pool"), n_filt=shape[0])


def _places(window: Window, shape: Image, kernel: str) -> dict[str, int]:
    facts = {}
    for axis, side in enumerate(("height", "width")):
        facts[f"in_{side}"] = shape[1 + axis]
        facts[f"out_{side}"] = window.size[axis]
        facts[f"{kernel}_{side}"] = window.kernel[axis]
        facts[f"stride_{side}"] = window.stride[axis]
    for each, axis in (("top", 0), ("bottom", 0), ("left", 1), ("right", 1)):
        facts[f"pad_{each}"] = window.padding[axis]
    return facts
