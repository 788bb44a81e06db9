"""How long and how fast a network is trained."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class Schedule(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """AdamW under a one-cycle learning rate (Smith 2018, arXiv:1708.07120).

    epochs: passes over the training rows; 0 leaves the weights as they are. learning_rate: the
    peak. batch_size: rows a step. weight_decay: decoupled, as in arXiv:1711.05101.
    """

    epochs: Annotated[int, Meta(ge=0, le=10_000)] = 10
    learning_rate: Annotated[float, Meta(gt=0, le=1)] = 0.003
    batch_size: Annotated[int, Meta(ge=1)] = 64
    weight_decay: Annotated[float, Meta(ge=0, le=1)] = 0.02
