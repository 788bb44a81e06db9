"""Remove the channels that matter least to the loss, then fine-tune under the unpruned model."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from compilers.contracts import Form, Work
from compilers.forms import TorchModel
from compilers.saliency import Importance, saliency
from compilers.schedule import Schedule
from compilers.source import Source
from compilers.training import Teaching, evaluate, repeatable, train
from model_repo.errors import BadInput

if TYPE_CHECKING:
    from torch import nn

FORM: Form = "torch"
LIBRARIES = ("numpy", "safetensors", "torch", "torch-pruning")


class Options(Schedule, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """ratio: share of each layer's channels to remove. importance: see `saliency`.

    round_to: the number of channels left is a multiple of it. keep: layers whose outputs stay
    whole, by name; the last layer of the network if none is given. temperature, soft_weight: of
    the fine-tuning, see `distillation_loss`.
    """

    ratio: Annotated[float, Meta(gt=0, lt=1)]
    importance: Importance = "taylor"
    round_to: Annotated[int, Meta(ge=1)] = 4
    keep: tuple[str, ...] = ()
    temperature: Annotated[float, Meta(gt=0, le=100)] = 3.0
    soft_weight: Annotated[float, Meta(ge=0, le=1)] = 0.7


def check(options: Options, source: Source) -> None:
    """Raise BadInput unless each layer to keep is in some network of the source."""
    if options.keep:
        networks = [source.build(name, 0) for name in source.models]
        layers = sorted({name for network in networks for name in _layers(network)})
        _check_keep(options, layers, source)


def apply(model: TorchModel, options: Options, work: Work) -> TorchModel:
    """The narrower network, fine-tuned on the training rows.

    Raises BadInput for an unknown layer in `keep`, and if pruning would change the outputs' shape.
    """
    teacher = model.module.eval()
    work.say(f"{model.network}, pruning {options.ratio:.0%} of the channels")
    with repeatable(work.seed):
        pruned = _pruned(teacher, options, work)
        work.notes["prune.unpruned_validation_accuracy"] = evaluate(teacher, work.validation)[0]
        work.notes["prune.untuned_validation_accuracy"] = evaluate(pruned, work.validation)[0]
    work.notes["prune.parameters_kept"] = _count(pruned) / _count(teacher)
    teaching = Teaching(teacher, options.temperature, options.soft_weight)
    label = f"{model.network}, fine-tuning"
    work.notes["prune.validation_accuracy"] = train(pruned, options, work, label, teaching)
    return TorchModel(model.network, pruned)


def _pruned(module: nn.Module, options: Options, work: Work) -> nn.Module:
    """A copy of `module` without the least important channels of each layer.

    torch-pruning ranks channels by the size of their weights, so it is shown a twin whose weights
    are their importances, and what it removes there is then removed from the copy.
    """
    import torch
    import torch_pruning

    rows = work.calibration.take(slice(2)).inputs.values()
    example = tuple(torch.from_numpy(array.copy()) for array in rows)
    twin, pruned = copy.deepcopy(module), copy.deepcopy(module)
    importances = saliency(module, work.calibration, options.importance)
    for weight, importance in zip(twin.parameters(), importances, strict=True):
        weight.data.copy_(importance)
    pruner = torch_pruning.pruner.BasePruner(
        twin,
        example,
        pruning_ratio=options.ratio,
        round_to=options.round_to,
        importance=torch_pruning.importance.GroupMagnitudeImportance(
            p=1, group_reduction="sum", normalizer=None, bias=True
        ),
        ignored_layers=_kept(twin, options, work),
    )
    pruner.step()
    graph = torch_pruning.DependencyGraph().build_dependency(pruned, example)
    graph.load_pruning_history(pruner.pruning_history())
    _check_outputs(module, pruned, example)
    return pruned


def _layers(module: nn.Module) -> dict[str, nn.Module]:
    return {name: layer for name, layer in module.named_modules() if hasattr(layer, "weight")}


def _check_keep(options: Options, layers: Collection[str], source: Source) -> None:
    for name in options.keep:
        if name not in layers:
            raise BadInput(
                f"prune: keep names the layer {name!r}, which {source.path} does not have: "
                f"choose from {', '.join(layers)}"
            )


def _kept(module: nn.Module, options: Options, work: Work) -> list[nn.Module]:
    layers = _layers(module)
    _check_keep(options, layers, work.source)
    return [layers[name] for name in options.keep or list(layers)[-1:]]


def _check_outputs(module: nn.Module, pruned: nn.Module, example: tuple[Any, ...]) -> None:
    import torch

    with torch.no_grad():
        wanted, given = module(*example).shape, pruned.eval()(*example).shape
    if wanted != given:
        raise BadInput(
            f"prune: the outputs would shrink from {list(wanted)} to {list(given)}: "
            "name the layer that computes them under keep"
        )


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
