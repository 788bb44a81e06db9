"""Zero the weights that matter least, and keep them zero while the others are fitted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from model_repo.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor, nn

GROUP, LEFT = 4, 2
Masks = dict[str, "Tensor"]
"""By the name of a parameter: 1 where a weight stays, 0 where it goes."""


def choose_zeros(
    module: nn.Module,
    importances: Sequence[Tensor],
    ratios: Mapping[str, float] | None,
    ratio: float,
    kept: Collection[nn.Module],
) -> Masks:
    """Which weights go: the least important share of each layer, or two of each four.

    importances: in the order of `module.parameters()`. ratios: of single layers, by name, `ratio`
    for the others; None for two of each four neighbours along the input channels, as the sparse
    tensor cores of GPUs take them (Mishra et al. 2021, arXiv:2104.08378). Of linear and
    convolution layers but those `kept`. Raises BadInput if there is none to take from.
    """
    from torch import nn
    from torch.nn.modules.conv import _ConvNd

    of_weight = dict(zip(map(id, module.parameters()), importances, strict=True))
    masks = {}
    for name, layer in module.named_modules():
        if not isinstance(layer, nn.Linear | _ConvNd) or layer in kept:
            continue
        importance = of_weight[id(layer.weight)]
        if ratios is not None:
            masks[_weight(name)] = _without_share(importance, ratios.get(name, ratio))
        elif importance.shape[1] % GROUP == 0:
            masks[_weight(name)] = _two_of_four(importance)
    if not masks:
        raise BadInput(
            "prune: there is no layer to take weights from: it takes linear or convolution layers "
            "that keep does not name, for '2:4' with a multiple of 4 input channels"
        )
    return masks


def _weight(layer: str) -> str:
    return f"{layer}.weight" if layer else "weight"


def _without_share(importance: Tensor, ratio: float) -> Tensor:
    import torch

    mask = torch.ones_like(importance).flatten()
    # Stable: of equals the first go, on every machine.
    order = importance.flatten().argsort(stable=True)
    mask[order[: round(ratio * len(mask))]] = 0
    return mask.reshape(importance.shape)


def _two_of_four(importance: Tensor) -> Tensor:
    import torch

    last = importance.movedim(1, -1)
    groups = last.reshape(-1, GROUP)
    mask = torch.ones_like(groups)
    mask.scatter_(1, groups.argsort(dim=1, stable=True)[:, : GROUP - LEFT], 0)
    return mask.reshape(last.shape).movedim(-1, 1)


@contextmanager
def held_at_zero(module: nn.Module, masks: Masks) -> Iterator[None]:
    """Zero what the masks say, and keep it so for as long as the block runs.

    A weight of zero whose gradient is zero stays zero under AdamW: neither the step nor the
    decay, which is in proportion to the weight, moves it.
    """
    import torch

    weights = {name: module.get_parameter(name) for name in masks}
    with torch.no_grad():
        for name, weight in weights.items():
            weight.mul_(masks[name])
    hooks = [
        weight.register_hook(masks[name].mul)  # type: ignore[no-untyped-call]  # as torch leaves it
        for name, weight in weights.items()
        if weight.requires_grad  # nothing moves the others
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
