"""Remove what matters least to the answers, then fine-tune under the reference."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta

from compilers.contracts import Form, Work
from compilers.datasets import Data
from compilers.forms import TorchModel
from compilers.source import Source
from compilers.training import channels, sparse
from compilers.training.hints import check_layer, layers_of
from compilers.training.lessons import Lesson, Teaching
from compilers.training.loop import repeatable, train
from compilers.training.resize import load_resized
from compilers.training.saliency import Importance, saliency
from compilers.training.yardstick import check_weights, yardstick
from model_repo.errors import BadInput
from model_repo.records import PassStep

if TYPE_CHECKING:
    from torch import nn

TAKES: Form = "torch"
GIVES: Form = "torch"
LIBRARIES = ("numpy", "safetensors", "torch", "torch-pruning")
WIDEST = 0.5
"""How far a layer's ratio may lie from the mean, as a share of the room there is."""


class Options(Lesson, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """kind: structured takes out whole channels, heads and hidden units, and is faster; the others
    put zeros in place of single weights, unstructured anywhere, 2:4 two in each four, which no
    runtime for CPUs skips: they are for size, for GPUs with sparse kernels, and for FPGAs.

    ratio: share of each layer's channels, or weights, to remove; 2:4 removes 0.5. importance: see
    `saliency`. allocation: one ratio for all layers, or smaller ones where a layer was measured to
    matter more, see `_allocate`. round_to: the number of channels left is a multiple of it. keep:
    layers whose outputs stay whole, by name; the last layer of the network if none is given.
    """

    ratio: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    kind: Literal["structured", "unstructured", "2:4"] = "structured"
    importance: Importance = "taylor"
    allocation: Literal["uniform", "sensitivity"] = "uniform"
    round_to: Annotated[int, Meta(ge=1)] = 4
    keep: tuple[str, ...] = ()


def check(options: Options, source: Source) -> None:
    """Raise BadInput unless each layer named is in some network of the source."""
    if options.kind == "2:4" and (options.ratio != 0.5 or options.allocation != "uniform"):
        raise BadInput(
            "prune: the kind '2:4' removes half of the weights of every layer: leave out ratio and "
            "allocation, or choose the kind 'unstructured'"
        )
    if options.keep or options.hints:
        networks = [source.build(name, 0) for name in source.models]
        layers = {name: layer for network in networks for name, layer in _layers(network).items()}
        _check_keep(options, sorted(layers), str(source.path))
        every = layers_of(networks)
        for name in (*options.hints, *options.hints.values()):
            check_layer(name, every)


def check_after(options: Options, before: Sequence[PassStep]) -> None:
    """Raise BadInput after a pass whose zeros would not last."""
    if any(step.name == "prune" and step.options.get("kind") != "structured" for step in before):
        raise BadInput(
            "prune comes after a prune that leaves zeros, and its fine-tuning would fill them: put "
            "the structured one first, or keep one of the two"
        )


def searched(source: Source) -> Mapping[str, Sequence[Any]]:
    """What a search should try."""
    return {
        "ratio": (0.25, 0.5, 0.75),
        "importance": ("taylor", "gradient", "magnitude"),
        "allocation": ("uniform", "sensitivity"),
    }


def apply(model: TorchModel, options: Options, work: Work) -> TorchModel:
    """The narrower or sparser network, fine-tuned on the training rows.

    Raises BadInput for an unknown layer in `keep`, for weights that are no numbers, and for a
    network that cannot be pruned as asked.
    """
    module = model.module.eval()
    check_weights(module, model.network)
    if options.epochs and not any(weight.requires_grad for weight in module.parameters()):
        raise BadInput(
            f"prune: every weight of the network {model.network!r} is held fixed (requires_grad "
            "is False), so there is nothing to fine-tune: set epochs to 0, or free some of them"
        )
    work.say(f"{model.network}, pruning {options.ratio:.0%}, {options.kind}")
    pruned = copy.deepcopy(module)
    with repeatable(work.seed):
        if options.kind == "structured":
            pruned = _narrowed(model, options, work)
        masks = {} if options.kind == "structured" else _masks(model, options, work)
        measure = yardstick(work, work.validation).measure
        unpruned = measure(module)[0]
    reference = work.reference().eval() if work.reference else module
    with sparse.held_at_zero(pruned, masks):
        with repeatable(work.seed):
            untuned = measure(pruned)[0]
        label = f"{model.network}, fine-tuning"
        tuned = train(pruned, options, work, label, Teaching(reference, options))
    work.notes[f"prune.unpruned_validation_{work.metric}"] = unpruned
    work.notes[f"prune.untuned_validation_{work.metric}"] = untuned
    zeros = sum(mask.numel() - int(mask.sum()) for mask in masks.values())
    work.notes["prune.parameters_kept"] = (_count(pruned) - zeros) / _count(module)
    work.notes[f"prune.validation_{work.metric}"] = tuned
    return TorchModel(model.network, pruned)


def _narrowed(model: TorchModel, options: Options, work: Work) -> nn.Module:
    """Without channels; a network that would not load again is refused here, not later."""
    import torch

    rows = work.calibration.take(slice(2)).inputs.values()
    example = tuple(torch.from_numpy(array.copy()) for array in rows)
    module = model.module
    # Which layers feed which is read from gradients, and those held fixed in training have none.
    free = copy.deepcopy(module).requires_grad_(True)
    pruned = channels.without_least(
        free,
        _importances(module, options, work),
        _allocate(module, options, work),
        options.ratio,
        options.round_to,
        _kept(free, options, model.network),
        example,
    )
    for name, weight in pruned.named_parameters():
        weight.requires_grad_(module.get_parameter(name).requires_grad)
    if _count(pruned) == _count(module):
        raise BadInput(
            f"prune: no channel of the network {model.network!r} can go at ratio "
            f"{options.ratio:g}: raise ratio, lower round_to, or name fewer layers under keep"
        )
    fresh = work.source.build(model.network, work.seed).eval()
    load_resized(fresh, pruned.state_dict())
    with torch.no_grad():
        try:
            is_same = torch.equal(fresh(*example), pruned(*example))
        except RuntimeError:  # it still counts on the widths it was built with
            is_same = False
    if not is_same:
        raise BadInput(
            f"prune: the network {model.network!r} does not work at other widths than it is built "
            "with: let its forward take them from its layers, not from numbers kept beside them"
        )
    return pruned


def _masks(model: TorchModel, options: Options, work: Work) -> sparse.Masks:
    module, is_free = model.module, options.kind == "unstructured"
    ratios = _allocate(module, options, work) if is_free else None
    kept = _kept(module, options, model.network)
    importances = _importances(module, options, work)
    return sparse.choose_zeros(module, importances, ratios, options.ratio, kept)


def _importances(module: nn.Module, options: Options, work: Work) -> list[Any]:
    # Numbers of classes say nothing of answers that are judged by their direction.
    rows = work.calibration
    if work.metric == "cosine":
        rows = Data(rows.inputs)
    return saliency(module, rows, options.importance)


def _allocate(module: nn.Module, options: Options, work: Work) -> dict[str, float]:
    """Ratios by layer: rising evenly from the layer that matters most to the one that does least.

    Their mean is `ratio`, and they stay within WIDEST of the way to 0 and to 1.
    """
    if options.allocation == "uniform":
        return {}
    from compilers.sensitivity import pruning

    losses = pruning.losses(module, work)
    spread = WIDEST * min(options.ratio, 1 - options.ratio)
    order = sorted(losses, key=lambda name: (-losses[name], name))
    steps = max(1, len(order) - 1)
    return {
        name: options.ratio + spread * (2 * place / steps - 1) for place, name in enumerate(order)
    }


def _layers(module: nn.Module) -> dict[str, nn.Module]:
    return {name: layer for name, layer in module.named_modules() if hasattr(layer, "weight")}


def _check_keep(options: Options, layers: Collection[str], owner: str) -> None:
    for name in options.keep:
        if name not in layers:
            raise BadInput(
                f"prune: keep names the layer {name!r}, which {owner} does not have: "
                f"choose from {', '.join(layers)}"
            )


def _kept(module: nn.Module, options: Options, network: str) -> list[nn.Module]:
    layers = _layers(module)
    _check_keep(options, layers, f"the network {network!r}")
    return [layers[name] for name in options.keep or list(layers)[-1:]]


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
