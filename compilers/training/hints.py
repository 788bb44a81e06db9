"""Hidden states of a teacher's layers, for a student's layers to come near to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from model_repo.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor, nn

Seen = dict[str, "Tensor"]


class Hints:
    """Pairs of layers, teacher's to student's, with a lens for each pair of unequal widths.

    A lens is a linear map from the student's channels to the teacher's (FitNets: Romero et al.
    2015, arXiv:1412.6550, section 2.2, there a convolution). Lenses are trained with the student
    and thrown away. told, seen: what `watched` gives for either, after one run of both.
    Raises BadInput if the states of a pair differ in anything but their channels.
    """

    def __init__(self, pairs: Mapping[str, str], told: Seen, seen: Seen) -> None:
        self._pairs, self._told, self._seen = pairs, told, seen
        self._lenses = {name: self._lens(name) for name in pairs}

    def _lens(self, name: str) -> nn.Module:
        from torch import nn

        told, seen = self._told[name].shape, self._seen[self._pairs[name]].shape
        if told[:-1] != seen[:-1]:
            raise BadInput(
                f"hints pairs {name!r} with {self._pairs[name]!r}, whose states are "
                f"{list(told[1:])} and {list(seen[1:])}, channels last: only the channels may "
                "differ, so name layers of one resolution"
            )
        return nn.Identity() if told[-1] == seen[-1] else nn.Linear(seen[-1], told[-1])

    def parameters(self) -> Iterator[nn.Parameter]:
        """Of the lenses."""
        for lens in self._lenses.values():
            yield from lens.parameters()

    def loss(self) -> Tensor:
        """The mean squared difference in the last run of both, as a share of the teacher's size.

        The share makes its weight mean the same in every layer of every network.
        """
        import torch

        shares = [
            (lens(self._seen[self._pairs[name]]) - (told := self._told[name])).square().mean()
            / told.square().mean()
            for name, lens in self._lenses.items()
        ]
        return torch.stack(shares).mean()


@contextmanager
def watched(module: nn.Module, names: Iterable[str]) -> Iterator[Seen]:
    """What the layers named gave in the last run, channels last.

    Raises BadInput for an unknown one, and in the run for one that gives more than a tensor.
    """
    import torch

    layers, seen = dict(module.named_modules()), Seen()
    names = list(names)
    for name in names:
        check_layer(name, layers)

    def watch(name: str) -> Any:
        def keep(_: nn.Module, taken: Any, given: Any) -> None:
            if not isinstance(given, torch.Tensor):
                raise BadInput(
                    f"hints names the layer {name!r}, which gives {type(given).__name__}, no "
                    "single tensor: name another layer"
                )
            seen[name] = given.movedim(1, -1) if given.ndim == 4 else given

        return keep

    hooks = [layers[name].register_forward_hook(watch(name)) for name in names]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def check_layer(name: str, layers: Mapping[str, Any]) -> None:
    """Raise BadInput unless the network has the layer."""
    if name not in layers:
        raise BadInput(
            f"hints names the layer {name!r}, which the network does not have: choose from "
            f"{', '.join(filter(None, layers))}"
        )


def layers_of(networks: Iterable[nn.Module]) -> dict[str, nn.Module]:
    """Every layer of any of them, by name: which of them it will be is not known before."""
    return {name: layer for network in networks for name, layer in network.named_modules()}
