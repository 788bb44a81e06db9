"""Calibrate pairs of variants as cascades, and choose the few that pay."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from msgspec import structs

from compilers.cascades.cascade import expected_profile
from compilers.cascades.conformal import threshold
from compilers.profiling.scoring import share
from model_repo.records import Cascade, Profile, Variant
from model_repo.tensors import Array

TIMES_CHEAPER = 2.0
"""A first stage that is dearer than half of the second leaves too little to save."""
AS_CHEAP = 1.05
"""Costs closer than this are equal: measured again, they move by as much."""
MOST = 4


@dataclass(frozen=True)
class Stage:
    """A variant with how sure and how right it is of each row: `margins`, and booleans.

    The rows are those of the split that sets thresholds, of the one that chooses, and of the one
    that is held out.
    """

    variant: Variant
    conformal_margins: Array
    conformal_right: Array
    validation_margins: Array
    validation_right: Array
    held_out_margins: Array
    held_out_right: Array

    @property
    def candidate(self) -> Variant:
        """The variant as it is compared with others: right on so many of the validation rows."""
        if not self.variant.profile.accuracy_samples:  # the reference, which agrees with itself
            return self.variant
        score = share(self.validation_right)
        profile = structs.replace(
            self.variant.profile,
            accuracy=score.value,
            accuracy_low=score.low,
            accuracy_high=score.high,
            accuracy_samples=score.samples,
        )
        return structs.replace(self.variant, profile=profile)


class Worth(NamedTuple):
    """Accuracy, lower end; device-seconds of an item at the best batch, and of a lone request."""

    accuracy_low: float
    item_s: float
    lone_s: float


@dataclass(frozen=True)
class Pair:
    """Two variants as a cascade, its threshold calibrated, its accuracy judged."""

    first: Variant
    second: Variant
    cascade: Cascade
    profile: Profile

    @property
    def name(self) -> str:
        """`cpu-small-to-large`, of cpu-small and cpu-large."""
        return cascade_name(self.first, self.second)


def cascade_name(first: Variant, second: Variant) -> str:
    """What the cascade of two variants of one target is shelved as."""
    short = second.key.variant.removeprefix(f"{second.target}-")
    return f"{first.key.variant}-to-{short}"


def may_pay(first: Variant, second: Variant) -> bool:
    """Whether the first is so much cheaper, and the second so much better, that it is tried."""
    return (
        first.target == second.target
        and TIMES_CHEAPER * worth(first.profile).item_s <= worth(second.profile).item_s
        and first.profile.accuracy < second.profile.accuracy
    )


def calibrate(first: Stage, second: Stage, output: str, risk: float) -> Pair:
    """The cascade of two stages; raises BadInput if no threshold bounds the risk.

    The threshold comes from the conformal rows alone; accuracy and escalation, by which pairs are
    chosen, from the validation rows: `publish` replaces them.
    """
    costly = ~first.conformal_right & second.conformal_right
    least = threshold(first.conformal_margins, costly, risk)
    goes_on = first.validation_margins < least
    right = np.where(goes_on, second.validation_right, first.validation_right)
    one, two = first.variant, second.variant
    cascade = Cascade(
        one.key.variant,
        one.artifact.sha256,
        two.key.variant,
        two.artifact.sha256,
        output,
        least,
        0.0,
    )
    return _expected(one, two, cascade, goes_on, right)


def publish(chosen: Pair, first: Stage, second: Stage) -> Pair:
    """The pair as it is shelved: its accuracy and escalation from held-out rows.

    Those had no part in choosing it. The best of many by some rows flatters itself on these rows.
    """
    goes_on = first.held_out_margins < chosen.cascade.threshold
    right = np.where(goes_on, second.held_out_right, first.held_out_right)
    return _expected(chosen.first, chosen.second, chosen.cascade, goes_on, right)


def _expected(
    first: Variant, second: Variant, cascade: Cascade, goes_on: Array, right: Array
) -> Pair:
    escalation = float(goes_on.mean())
    profile = expected_profile(first.profile, second.profile, escalation, share(right))
    return Pair(first, second, structs.replace(cascade, escalation=escalation), profile)


def choose(pairs: Iterable[Pair], singles: Iterable[Variant]) -> tuple[list[Pair], list[str]]:
    """The pairs that pay, at most MOST, and of each other why it does not; all of one target.

    A pair does not pay if a single variant, or a pair that does, is at least as accurate by the
    lower end of its interval, and as cheap both at its best batch and for lone requests. Where
    more would pay, those stay that save the largest share of what single variants cost. The
    reasons come sorted, the pairs that came closest first.
    """
    alone = {v.key.variant: worth(v.profile) for v in singles}
    paying: list[Pair] = []
    told: list[tuple[float, str]] = []
    for pair in sorted(pairs, key=_rank):
        if not pair.cascade.escalation:
            reason = f"{pair.name}: its first stage alone is within the risk"
            told.append((math.inf, reason))
            continue
        own, known = worth(pair.profile), alone | {p.name: worth(p.profile) for p in paying}
        beaten = [(rival.item_s, name) for name, rival in known.items() if _is_as_good(rival, own)]
        if not beaten:
            paying.append(pair)
            continue
        item_s, name = min(beaten)
        reason = f"{_said(pair)}, where {name} ({_figures(known[name])}) is as good"
        told.append((own.item_s / item_s, reason))
    kept = sorted(paying, key=lambda pair: _share_spent(pair, alone.values()))[:MOST]
    told += [
        (0.0, f"{_said(pair)}, and {MOST} others save more") for pair in paying if pair not in kept
    ]
    return kept, [reason for _, reason in sorted(told)]


def worth(profile: Profile) -> Worth:
    """By what a pair is compared with what else there is."""
    best = profile.best_point
    return Worth(profile.accuracy_low, best.device_s / best.batch_size, profile.latency[0].device_s)


def _rank(pair: Pair) -> tuple[float, float, float, str]:
    own = worth(pair.profile)
    return -own.accuracy_low, own.item_s, own.lone_s, pair.name


def _is_as_good(rival: Worth, own: Worth) -> bool:
    return (
        rival.accuracy_low >= own.accuracy_low
        and rival.item_s <= AS_CHEAP * own.item_s
        and rival.lone_s <= AS_CHEAP * own.lone_s
    )


def _share_spent(pair: Pair, alone: Iterable[Worth]) -> tuple[float, str]:
    """What the pair costs, of what the cheapest single variant as accurate does."""
    own = worth(pair.profile)
    costs = [single.item_s for single in alone if single.accuracy_low >= own.accuracy_low]
    return own.item_s / min(costs) if costs else 0.0, pair.name


def _said(pair: Pair) -> str:
    return f"{pair.name} ({_figures(worth(pair.profile))})"


def _figures(own: Worth) -> str:
    return f"{own.accuracy_low:.4f} or better, {own.item_s * 1e6:.3g} us an item"
