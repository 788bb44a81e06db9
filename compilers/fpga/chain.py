"""Read a torch network as a chain of layers that have a fixed-point form, or say which has none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from model_repo.errors import Unsupported
from model_repo.tensors import Array

if TYPE_CHECKING:
    from torch import Tensor, nn

KNOWN = (
    "Linear, Conv2d, BatchNorm after either, ReLU, MaxPool2d, AvgPool2d of a power of two of "
    "pixels, AdaptiveAvgPool2d(1), Flatten and Dropout, one after the other in an nn.Sequential"
)


@dataclass(frozen=True)
class Link:
    """One layer of a chain: its name in the network, the torch layer, and what it reads.

    taps: places of its input as `fixed.Affine` counts them, None for a ReLU. weight, bias: a batch
    norm behind it folded in, None for a layer without. shape: of one row of its answer.
    """

    name: str
    layer: nn.Module
    taps: Array | None
    shape: tuple[int, ...]
    weight: Tensor | None = None
    bias: Tensor | None = None


def read(module: nn.Module, shape: tuple[int, ...]) -> list[Link]:
    """The chain that `module` is, for input rows of `shape`.

    Raises Unsupported naming the first layer that has no fixed-point form, with its type.
    """
    from torch import nn

    links: list[Link] = []
    for name, layer in _layers(module, ""):
        if isinstance(layer, nn.Flatten):
            if (layer.start_dim, layer.end_dim) != (1, -1):
                raise _refused(name, layer, "it flattens some of a row's axes only")
            shape = (int(np.prod(shape)),)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            links.append(_folded(name, layer, links.pop() if links else None))
        elif isinstance(layer, nn.ReLU):
            links.append(Link(name, layer, None, shape))
        elif not isinstance(layer, nn.Identity | nn.Dropout):
            links.append(_link(name, layer, shape))
            shape = links[-1].shape
    if not any(link.weight is not None for link in links):
        raise Unsupported("the network has no linear or convolution layer to make a circuit of")
    return links


def _layers(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    from torch import nn

    # A subclass may run its layers in another order.
    if type(module).forward is not nn.Sequential.forward:
        yield name, module
        return
    for own, layer in module.named_children():
        yield from _layers(layer, f"{name}.{own}" if name else own)


def _refused(name: str, layer: nn.Module, why: str) -> Unsupported:
    where = f"the layer {name!r}" if name else "the network"
    return Unsupported(
        f"{where} is a {type(layer).__name__}, which has no fixed-point form here: {why}; a "
        f"circuit is made of {KNOWN}"
    )


def _link(name: str, layer: nn.Module, shape: tuple[int, ...]) -> Link:
    from torch import nn

    if isinstance(layer, nn.Linear):
        if len(shape) != 1:
            raise _refused(name, layer, f"its input rows are {list(shape)}: put Flatten before it")
        taps = np.arange(shape[0])[None]
        return Link(name, layer, taps, (layer.out_features,), layer.weight, _bias(layer))
    if len(shape) == 3:
        if isinstance(layer, nn.Conv2d):
            return _convolution(name, layer, shape)
        if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d | nn.AdaptiveAvgPool2d):
            return _pooling(name, layer, shape)
    raise _refused(name, layer, f"its input rows are {list(shape)}")


def _convolution(name: str, layer: Any, shape: tuple[int, ...]) -> Link:
    if layer.groups != 1 or layer.dilation != (1, 1):
        raise _refused(name, layer, "it has groups or a dilation")
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise _refused(name, layer, "its padding is no number of zeros")
    rows, columns = windows(shape[1:], layer.kernel_size, layer.stride, layer.padding)
    inside = (rows >= 0) & (rows < shape[1]) & (columns >= 0) & (columns < shape[2])
    pixel = np.where(inside, rows * shape[2] + columns, -1)  # [height, width, kernel]
    height, width, _ = pixel.shape
    area = shape[1] * shape[2]
    taps = [np.where(pixel >= 0, channel * area + pixel, -1) for channel in range(shape[0])]
    places = np.concatenate(taps, axis=-1).reshape(height * width, -1)
    answer = (layer.out_channels, height, width)
    return Link(name, layer, places, answer, layer.weight, _bias(layer))


def _pooling(name: str, layer: Any, shape: tuple[int, ...]) -> Link:
    from torch import nn

    if isinstance(layer, nn.AdaptiveAvgPool2d):
        if layer.output_size not in (1, (1, 1)):
            raise _refused(name, layer, f"its output size is {layer.output_size}, not 1")
        size, stride, padding = shape[1:], shape[1:], 0
    else:
        size, stride, padding = layer.kernel_size, layer.stride, layer.padding
        if layer.ceil_mode or padding not in (0, (0, 0)) or getattr(layer, "dilation", 1) != 1:
            raise _refused(name, layer, "it has padding, a dilation or ceil_mode")
    rows, columns = windows(shape[1:], size, stride, 0)
    height, width, pixels = rows.shape
    is_mean = not isinstance(layer, nn.MaxPool2d)
    if is_mean and (pixels & (pixels - 1) or getattr(layer, "divisor_override", None)):
        raise _refused(name, layer, f"it divides by {pixels}, which is no power of two")
    pixel = (rows * shape[2] + columns).reshape(-1, pixels)
    area = shape[1] * shape[2]
    taps = np.concatenate([channel * area + pixel for channel in range(shape[0])])
    return Link(name, layer, taps, (shape[0], height, width))


def windows(size: Any, kernel: Any, stride: Any, padding: Any) -> tuple[Array, Array]:
    """The row and the column of each pixel a kernel sees: [height, width, kernel] each."""
    axes = []
    for axis in range(2):
        k, s, p = (v if isinstance(v, int) else v[axis] for v in (kernel, stride, padding))
        starts = np.arange((size[axis] + 2 * p - k) // s + 1) * s - p
        axes.append(starts[:, None] + np.arange(k))  # [places, kernel]
    (high, tall), (wide, broad) = axes[0].shape, axes[1].shape
    whole = (high, wide, tall, broad)
    rows = np.broadcast_to(axes[0][:, None, :, None], whole).reshape(high, wide, -1)
    columns = np.broadcast_to(axes[1][None, :, None, :], whole).reshape(high, wide, -1)
    return rows, columns


def _bias(layer: Any) -> Tensor:
    import torch

    return torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias


def _folded(name: str, norm: Any, before: Link | None) -> Link:
    """The layer before with the norm's running mean and variance in its weights."""
    import torch

    if before is None or before.weight is None or before.bias is None:
        raise _refused(name, norm, "it does not come right after a linear or convolution layer")
    if norm.running_var is None:
        raise _refused(name, norm, "it keeps no running mean and variance")
    with torch.no_grad():
        scale = torch.rsqrt(norm.running_var + norm.eps)
        shift = -norm.running_mean * scale
        if norm.affine:
            scale, shift = scale * norm.weight, shift * norm.weight + norm.bias
        weight = before.weight * scale.reshape(-1, *[1] * (before.weight.dim() - 1))
        return Link(
            before.name,
            before.layer,
            before.taps,
            before.shape,
            weight,
            before.bias * scale + shift,
        )
