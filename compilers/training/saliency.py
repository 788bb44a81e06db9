"""How much each weight of a network matters to its loss, from gradients over a few samples."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Literal

from compilers.datasets import Data
from compilers.training.yardstick import tensors

if TYPE_CHECKING:
    from torch import Tensor, nn

Importance = Literal["gradient", "taylor", "magnitude"]
DRAWN = 0  # the seed of the directions that stand in for labels


def saliency(module: nn.Module, data: Data, importance: Importance) -> list[Tensor]:
    """r(w) of every parameter, in the order of `module.parameters()` and in its shape.

    With N samples and loss L of each: gradient r(w) = 1/N sum |dL/dw|; taylor
    r(w) = 1/N sum |dL/dw * w|, the first-order change of the loss if w were zero (Molchanov et
    al. 2019, arXiv:1906.10771); magnitude r(w) = |w|, which needs no data.

    Without labels, any loss against the network's own answers has no slope where it stands. Then
    L = v . f(x), v normal and drawn for each sample: |dL/dw| is on average in proportion to the
    length of df/dw, so that taylor is the first-order change of all the answers together.
    """
    import torch
    from torch.nn import functional

    if importance == "magnitude":
        return [weight.detach().abs() for weight in module.parameters()]
    # What the source holds fixed in training has a slope too, and stays fixed: this is a copy.
    module = copy.deepcopy(module).eval().requires_grad_(True)
    parameters = list(module.parameters())
    sums = [torch.zeros_like(weight) for weight in parameters]
    inputs, labels = tensors(data)
    generator = torch.Generator().manual_seed(DRAWN)
    for row in range(len(data)):
        given = module(*(tensor[row : row + 1] for tensor in inputs))
        if labels is None:
            loss = (torch.randn(given.shape, generator=generator) * given).sum()
        else:
            loss = functional.cross_entropy(given, labels[row : row + 1])
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        for total, gradient in zip(sums, gradients, strict=True):
            if gradient is not None:
                total += gradient.abs()
    if importance == "taylor":
        sums = [
            total * weight.detach().abs() for total, weight in zip(sums, parameters, strict=True)
        ]
    return [total / len(data) for total in sums]
