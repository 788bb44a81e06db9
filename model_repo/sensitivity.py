"""How much each layer of a model minds int8 and pruning, as it is kept beside the signature."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from model_repo import durable
from model_repo.names import SENSITIVITY
from model_repo.records import Metric
from model_repo.store import Store

NAMED = 3
"""Layers that a line of text names."""


class LayerLoss(Struct, frozen=True, forbid_unknown_fields=True):
    """What one layer's change alone costs the answers of the reference.

    loss: mean Kullback-Leibler divergence of scores in nats, or 1 - cosine where the model is
    judged by its cosine. node: the layer's name in the ONNX graph, as `skip` takes it; "" if the
    graph does not tell.
    """

    layer: str
    loss: float
    node: str = ""


class Sensitivity(Struct, frozen=True, forbid_unknown_fields=True):
    """The layers in the order in which they compute.

    quantization: weight and input in int8. pruning: the lesser half of the output channels gone.
    rows: of the calibration rows, those it was measured on; 0 where it was not kept, as the seed of
    the split and the libraries' versions. No date: the same inputs give the same bytes.
    """

    metric: Metric
    quantization: tuple[LayerLoss, ...] = ()
    pruning: tuple[LayerLoss, ...] = ()
    rows: int = 0
    seed: int = 0
    versions: dict[str, str] = {}

    @property
    def unit(self) -> str:
        """What a loss is."""
        return "1 - cosine" if self.metric == "cosine" else "KL divergence, nats"


def read(store: Store, model: str, version: str) -> Sensitivity | None:
    """What was measured, or None; raises Corrupt if the file cannot be read."""
    path = store.place(model, version) / SENSITIVITY
    return durable.read(path, Sensitivity) if path.exists() else None


def write(store: Store, model: str, version: str, found: Sensitivity) -> None:
    """Keep it beside the signature, which is there; the caller holds the repository for writing."""
    durable.write(store.place(model, version) / SENSITIVITY, found)


def line(found: Sensitivity) -> str:
    """The most sensitive layers, in words; "" if there are none."""
    parts = [
        f"to {change} {', '.join(_worst(losses))}"
        for change, losses in (("int8", found.quantization), ("pruning", found.pruning))
        if losses
    ]
    return f"most sensitive layers: {'; '.join(parts)}" if parts else ""


def _worst(losses: Sequence[LayerLoss]) -> list[str]:
    return [each.layer for each in sorted(losses, key=lambda each: -each.loss)[:NAMED]]
