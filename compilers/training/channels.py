"""Take out the channels, heads and hidden units that matter least: a narrower network."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from model_repo.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor, nn

PROJECTIONS = ("query", "key", "value")
Example = tuple[Any, ...]


def without_least(
    module: nn.Module,
    importances: Sequence[Tensor],
    ratios: Mapping[str, float],
    ratio: float,
    round_to: int,
    kept: Sequence[nn.Module],
    example: Example,
) -> nn.Module:
    """A copy of `module` without the share `ratio` of each layer's channels.

    importances: of the weights, in the order of `module.parameters()`. ratios: of single layers, by
    name. Widths left are multiples of round_to. kept: layers whose outputs stay whole. A module
    with a whole number `head_size` and linear layers called query, key and value loses whole heads.

    torch-pruning ranks channels by the size of their weights, so it is shown a twin whose weights
    are their importances, and what it removes there is then removed from the copy.
    Raises BadInput for a network that it cannot follow.
    """
    import torch_pruning

    names = {layer: name for name, layer in module.named_modules()}
    twin, pruned = copy.deepcopy(module), copy.deepcopy(module)
    for weight, importance in zip(twin.parameters(), importances, strict=True):
        weight.data.copy_(importance)
    own = {twin.get_submodule(name): share for name, share in ratios.items()}
    try:
        pruner = torch_pruning.pruner.BasePruner(
            twin,
            example,
            pruning_ratio=ratio,
            pruning_ratio_dict=own,
            round_to=round_to,
            importance=torch_pruning.importance.GroupMagnitudeImportance(
                p=1, group_reduction="sum", normalizer=None, bias=True
            ),
            ignored_layers=[*(twin.get_submodule(names[layer]) for layer in kept), *_tables(twin)],
            num_heads=_heads(twin),
            prune_num_heads=True,
            prune_head_dims=False,
            head_pruning_ratio=ratio,
            head_pruning_ratio_dict=own,
            # Given here, since the library's defaults are shared by all calls.
            in_channel_groups={},
            out_channel_groups={},
        )
        pruner.step()
        graph = torch_pruning.DependencyGraph().build_dependency(pruned, example)
        graph.load_pruning_history(pruner.pruning_history())
        answer = _shape(pruned, example)
    except Exception as error:  # the library and the network's own code may raise anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadInput(
            f"prune: no channels can be taken out of this network ({reason}): name the layers that "
            "must stay whole under keep; attention must say head_size and name its layers query, "
            "key and value; or choose the kind 'unstructured'"
        ) from error
    _check(module, pruned, answer, example)
    return pruned


def _tables(module: nn.Module) -> list[nn.Module]:
    """Embeddings: they feed every layer through the shortcuts, so they stay whole."""
    from torch import nn

    return [layer for layer in module.modules() if isinstance(layer, nn.Embedding)]


def _heads(module: nn.Module) -> dict[nn.Module, int]:
    """Attention's projections, with how many heads each has."""
    found = {}
    for attention in module.modules():
        size = getattr(attention, "head_size", None)
        layers = [getattr(attention, name, None) for name in PROJECTIONS]
        if isinstance(size, int) and all(hasattr(layer, "out_features") for layer in layers):
            found.update({layer: layer.out_features // size for layer in layers if layer})
    return found


def _shape(module: nn.Module, example: Example) -> list[int]:
    import torch

    with torch.no_grad():
        return list(module.eval()(*example).shape)


def _check(module: nn.Module, pruned: nn.Module, answer: list[int], example: Example) -> None:
    wanted = _shape(module, example)
    if wanted != answer:
        raise BadInput(
            f"prune: the outputs would shrink from {wanted} to {answer}: "
            "name the layer that computes them under keep"
        )
    if _ties(module) != _ties(pruned):
        raise BadInput(
            f"prune: layers that share a weight would part ({'; '.join(_ties(module))}): "
            "name them under keep, or choose the kind 'unstructured'"
        )


def _ties(module: nn.Module) -> list[str]:
    """Weights that stand under more than one name, those names joined."""
    names: dict[int, list[str]] = {}
    for name, weight in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(weight), []).append(name)
    return [" = ".join(shared) for shared in names.values() if len(shared) > 1]
