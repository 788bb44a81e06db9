"""How good a torch network is while it is made: right answers, or fidelity to the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compilers.contracts import Work
from compilers.datasets import Data
from model_repo.errors import BadInput
from model_repo.records import Metric

if TYPE_CHECKING:
    from torch import Tensor, nn

ROWS = 256
Inputs = tuple[Any, ...]


@dataclass(frozen=True)
class Yardstick:
    """Rows, and what is wanted of them: class numbers `[n]`, or the reference's answers."""

    metric: Metric
    inputs: Inputs
    wanted: Tensor

    def measure(self, module: nn.Module) -> tuple[float, float]:
        """The metric, and minus the loss, to tell equals apart; `module` is left in eval mode."""
        from torch.nn import functional

        given, wanted = answers(module, self.inputs), self.wanted
        if self.metric == "cosine":
            alike = float(cosines(given, wanted).mean())
            return alike, alike
        if self.metric == "agreement":
            right = given.argmax(-1) == wanted.argmax(-1)
            scores, wanted = given.flatten(0, -2), wanted.flatten(0, -2).softmax(-1)
        else:
            right, scores = given.argmax(1) == wanted, given
        share = right.reshape(len(right), -1).all(1).float().mean()
        return float(share), -float(functional.cross_entropy(scores, wanted))


def yardstick(work: Work, data: Data) -> Yardstick:
    """By the metric of the work; by accuracy while there is no reference yet.

    Raises BadInput if labels are needed and there are none.
    """
    inputs, labels = tensors(data)
    if work.metric != "accuracy" and work.reference is not None:
        return Yardstick(work.metric, inputs, answers(work.reference(), inputs))
    return Yardstick("accuracy", inputs, need(labels))


def cosines(given: Tensor, wanted: Tensor) -> Tensor:
    """The cosine of each pair of rows, each taken as one vector."""
    from torch.nn import functional

    return functional.cosine_similarity(given.flatten(1), wanted.flatten(1), dim=1)


def answers(module: nn.Module, inputs: Inputs) -> Tensor:
    """What the network, in eval mode, answers to all rows."""
    import torch

    with torch.no_grad():
        parts = zip(*(torch.split(tensor, ROWS) for tensor in inputs), strict=True)
        return torch.cat([module.eval()(*part) for part in parts])


def tensors(data: Data) -> tuple[Inputs, Tensor | None]:
    """The inputs in their order, and the labels if there are any."""
    import numpy as np
    import torch

    inputs = tuple(torch.from_numpy(np.ascontiguousarray(a)) for a in data.inputs.values())
    if data.labels is None:
        return inputs, None
    return inputs, torch.from_numpy(np.ascontiguousarray(data.labels, dtype=np.int64))


def need(labels: Tensor | None) -> Tensor:
    """The labels; raises BadInput if there are none."""
    if labels is None:
        raise BadInput(
            "the source's data has no labels, which training by right answers needs: give labels, "
            "or set epochs to 0 under source, training and choose the metric 'agreement' or "
            "'cosine', for which passes learn from the reference alone"
        )
    return labels


def check_weights(module: nn.Module, network: str) -> None:
    """Raise BadInput if a weight is infinite or no number."""
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise BadInput(
                f"the weights {name!r} of the network {network!r} hold values that are infinite or "
                "no numbers: train it again, at a lower learning_rate, or load sound weights"
            )
