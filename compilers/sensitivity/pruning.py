"""What the lesser half of one layer's channels is worth to the answers of a torch network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from compilers.contracts import Work
from compilers.digests import code_sha256, versions
from compilers.sensitivity.divergence import check, divergence
from compilers.source import sha256_of_source
from compilers.training.loop import repeatable
from model_repo.tensors import Array

if TYPE_CHECKING:
    from torch import Tensor, nn

LIBRARIES = ("numpy", "torch")
ROWS = 40
"""Of the calibration rows: enough to compare layers, and few enough for deep networks."""


@dataclass(frozen=True)
class Site:
    """Where one layer's channels can be silenced: at its output, or at that of its batch norm.

    axis: of the channels. size: the mean absolute value of each channel over the rows.
    """

    layer: str
    module: nn.Module
    axis: int
    size: Tensor


def losses(module: nn.Module, work: Work) -> dict[str, float]:
    """Layer name -> `divergence` of the answers without the lesser half of its output channels.

    Lesser are channels with the smaller mean absolute activation (Molchanov et al. 2017,
    arXiv:1611.06440, section 2.2), which needs no labels. They are set to zero, which costs what
    removing them would, before any fine-tuning. Of linear and convolution layers; the last one,
    which computes the answers, is left out. Measured once for one network and its rows.
    Raises BadInput if the network does not answer finite floats.
    """
    rows = work.calibration.take(slice(0, ROWS)).inputs
    inputs = {name: np.ascontiguousarray(array) for name, array in rows.items()}
    depends_on = (
        "sensitivity.pruning",
        sha256_of_source(work.source.path),
        _sha256_of(module, inputs),
        work.metric,
        code_sha256("compilers.sensitivity.pruning"),
        versions(LIBRARIES),
    )
    return cast(
        dict[str, float], work.recall(depends_on, lambda: _measure(module.eval(), inputs, work))
    )


def _measure(module: nn.Module, inputs: dict[str, Array], work: Work) -> dict[str, float]:
    import torch

    tensors = tuple(map(torch.from_numpy, inputs.values()))

    def answers() -> list[Array]:
        return [module(*tensors).numpy()]

    with repeatable(work.seed), torch.no_grad():
        wanted = answers()
        check(wanted)
        sites = _find_sites(module, answers)[:-1]
        measured = {}
        for turn, site in enumerate(sites):
            work.say(f"sensitivity to pruning, layer {turn + 1} of {len(sites)}")
            with _silenced(site):
                measured[site.layer] = divergence(wanted, answers(), work.metric)
    return measured


def _find_sites(module: nn.Module, run: Callable[[], Any]) -> list[Site]:
    """The layers in the order in which they compute."""
    found: dict[str, Site] = {}
    given: dict[int, tuple[str, Tensor]] = {}
    """By the id of an output: the layer, and the output, held so that its id stays its own."""

    def watch(name: str) -> Callable[..., None]:
        def seen(layer: nn.Module, taken: tuple[Any, ...], output: Any) -> None:
            if (axis := _channel_axis(layer)) is not None:
                found.setdefault(name, Site(name, layer, axis, _size(output, axis)))
                given[id(output)] = (name, output)
            elif _is_norm(layer) and (giver := given.get(id(taken[0]))):
                axis = found[giver[0]].axis
                found[giver[0]] = Site(giver[0], layer, axis, _size(output, axis))

        return seen

    hooks = [layer.register_forward_hook(watch(name)) for name, layer in module.named_modules()]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return list(found.values())


def _channel_axis(layer: nn.Module) -> int | None:
    """Where the outputs of a layer that can be pruned have their channels; None for others."""
    from torch import nn
    from torch.nn.modules.conv import _ConvNd

    if isinstance(layer, nn.Linear):
        return -1 if layer.out_features > 1 else None
    if isinstance(layer, _ConvNd):
        # The channels of a depthwise layer go with those of the layer before it.
        return 1 if layer.out_channels > 1 and layer.groups == 1 else None
    return None


def _is_norm(layer: nn.Module) -> bool:
    from torch.nn.modules.batchnorm import _BatchNorm

    return isinstance(layer, _BatchNorm)


def _size(output: Tensor, axis: int) -> Tensor:
    others = [place for place in range(output.ndim) if place != axis % output.ndim]
    return output.abs().mean(dim=others)


@contextmanager
def _silenced(site: Site) -> Iterator[None]:
    """Let the lesser half of the channels answer zero for as long as the block runs."""
    import torch

    keep = torch.ones_like(site.size)
    # Stable: equal channels go in their order, on every machine.
    keep[torch.argsort(site.size, stable=True)[: len(keep) // 2]] = 0

    def silence(layer: nn.Module, taken: tuple[Any, ...], output: Tensor) -> Tensor:
        shape = [1] * output.ndim
        shape[site.axis] = -1
        return output * keep.reshape(shape)

    hook = site.module.register_forward_hook(silence)
    try:
        yield
    finally:
        hook.remove()


def _sha256_of(module: nn.Module, inputs: dict[str, Array]) -> str:
    total = hashlib.sha256(repr(module).encode())
    weights = {name: tensor.numpy() for name, tensor in sorted(module.state_dict().items())}
    for name, array in (*weights.items(), *sorted(inputs.items())):
        total.update(repr((name, array.dtype.str, array.shape)).encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()
