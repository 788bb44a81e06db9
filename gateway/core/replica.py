"""Running copies of a variant, and which of them takes the next batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from model_repo.records import VariantKey

State = Literal["starting", "ready", "draining", "broken"]


class Replica(Struct, eq=False):
    """One running copy; the one live, mutable record. `slots` batches may run at once."""

    id: str
    key: VariantKey
    address: str
    state: State = "starting"
    in_flight: int = 0
    slots: int = 1

    def has_room(self) -> bool:
        """Whether it can start one more batch now."""
        return self.state == "ready" and self.in_flight < self.slots


def pick(replicas: Iterable[Replica]) -> Replica | None:
    """The least loaded replica that can start a batch now, or None."""
    free = [replica for replica in replicas if replica.has_room()]
    return min(free, key=lambda replica: replica.in_flight, default=None)
