"""Which variants no other beats on accuracy, latency and cost at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from model_repo.records import Variant


def front(variants: Iterable[Variant], usd_per_item: Callable[[Variant], float]) -> list[Variant]:
    """The variants of one model that no other dominates, in the order given.

    a dominates b when a is no worse in accuracy_low, p99 of a lone request and dollars an item
    at the best batch, and better in one of them. Prices move, so this is computed when read.
    """
    rows = [(v, _measures(v, usd_per_item(v))) for v in variants]
    return [
        variant
        for variant, own in rows
        if not any(
            other != own and all(o <= s for o, s in zip(other, own, strict=True))
            for _, other in rows
        )
    ]


def _measures(variant: Variant, usd: float) -> tuple[float, float, float]:
    profile = variant.profile
    return (1.0 - profile.accuracy_low, profile.latency[0].p99_s, usd)
