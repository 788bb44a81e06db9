"""Which variants no other beats on accuracy, latency and cost at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from model_repo.records import Variant

NOISE_S, NOISE_RATIO = 50e-6, 1.25
"""Two p99s are told apart when they differ by more than both.

A profile's p99 is one of the few slowest of some hundred runs: a single interrupt or a scheduler's
turn (tens of microseconds) moves it, and on the same machine it comes back within about a quarter.
"""


class _Measures(NamedTuple):
    """The less the better, each of them."""

    inaccuracy: float
    usd: float
    p99_s: float


def front(variants: Iterable[Variant], usd_per_item: Callable[[Variant], float]) -> list[Variant]:
    """The variants of one model that no other of the front dominates, in the order given.

    a dominates b when a is no worse in accuracy_low, in dollars an item at the best batch and in
    p99 of a lone request, and better in one of them; p99s within the noise are equal. Equal so is
    not transitive, hence 'other of the front': no cycle of dominance exists, as each step lowers
    (inaccuracy, usd, p99) in that order, so going through them in that order every variant that
    is dropped is dominated by one that stays. Prices move, so this is computed when read.
    """
    rows = [(variant, _measures(variant, usd_per_item(variant))) for variant in variants]
    best: list[_Measures] = []
    for own in sorted({own for _, own in rows}):
        if not any(_dominates(other, own) for other in best):
            best.append(own)
    return [variant for variant, own in rows if own in best]


def _dominates(a: _Measures, b: _Measures) -> bool:
    if a.inaccuracy > b.inaccuracy or a.usd > b.usd or _is_faster(b.p99_s, a.p99_s):
        return False
    return a[:2] != b[:2] or _is_faster(a.p99_s, b.p99_s)


def _is_faster(a_s: float, b_s: float) -> bool:
    return b_s > a_s + NOISE_S and b_s > a_s * NOISE_RATIO


def _measures(variant: Variant, usd: float) -> _Measures:
    profile = variant.profile
    return _Measures(1.0 - profile.accuracy_low, usd, profile.latency[0].p99_s)
