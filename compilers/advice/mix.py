"""What callers ask for: the shares of a model's requests, and the bounds of each."""

from __future__ import annotations

import math
from typing import Annotated

from msgspec import Meta, Struct

from model_repo.documents import parse
from model_repo.errors import BadInput

SECONDS_PER_DAY = 86_400
Positive = Annotated[float, Meta(gt=0, le=1e15)]


class SloClass(Struct, frozen=True, forbid_unknown_fields=True):
    """Requests that ask for the same.

    share: of all requests, 0 to 1. latency_ms: the longest a lone request may take; None, as for
    min_accuracy, means no bound. items: rows that are run together, those of one request or of the
    batches that such requests form.
    """

    name: str
    share: Annotated[float, Meta(ge=0, le=1)]
    latency_ms: Positive | None = None
    min_accuracy: Annotated[float, Meta(ge=-1, le=1)] | None = None
    items: Annotated[int, Meta(ge=1, le=1_000_000)] = 1


class SloMix(Struct, frozen=True, forbid_unknown_fields=True):
    """The traffic of one model; one of the two rates is given."""

    classes: Annotated[tuple[SloClass, ...], Meta(min_length=1)]
    requests_per_day: Positive | None = None
    requests_per_second: Positive | None = None

    def daily(self, each: SloClass) -> float:
        """Requests a day of one class."""
        rate = self.requests_per_day or (self.requests_per_second or 0.0) * SECONDS_PER_DAY
        return rate * each.share


def parse_mix(text: str, name: str) -> SloMix:
    """Read a mix from YAML; raises BadInput naming the key that is wrong and what is allowed."""
    mix = parse(text, SloMix, name)
    if (mix.requests_per_day is None) == (mix.requests_per_second is None):
        raise BadInput(f"{name}: give one of requests_per_day and requests_per_second")
    total = math.fsum(each.share for each in mix.classes)
    if abs(total - 1) > 1e-6:
        raise BadInput(f"{name}: the shares of its classes add up to {total:g}: make that 1")
    names = [each.name for each in mix.classes]
    for each in names:
        if names.count(each) > 1:
            raise BadInput(f"{name}: two classes are named {each!r}: give each its own name")
    return mix
