"""Foretell a profile from how the same change moved the profile of another variant."""

from __future__ import annotations

import math
from collections.abc import Iterable

from msgspec import structs

from compilers.cascades.cascade import at
from model_repo.records import QUIET, LatencyPoint, Profile


def item_s(profile: Profile) -> float:
    """Device-seconds of an item at the best batch."""
    best = profile.best_point
    return best.device_s / best.batch_size


def call_s(profiles: Iterable[Profile]) -> float:
    """Device-seconds that a call takes before its first row, however small the network.

    The least, over the profiles, of the line through the smallest and the largest batch at 0 rows.
    """
    return min((_at_no_rows(profile) for profile in profiles), default=0.0)


def _at_no_rows(profile: Profile) -> float:
    first, last = profile.latency[0], profile.latency[-1]
    rows = last.batch_size - first.batch_size
    slope = (last.device_s - first.device_s) / rows if rows else first.device_s / first.batch_size
    return max(0.0, first.device_s - slope * first.batch_size)


def decades(one: Profile, other: Profile) -> float:
    """How far apart two variants are in cost: 1 for a factor of ten."""
    return abs(math.log10(item_s(one) / item_s(other)))


def spread(*profiles: Profile) -> float:
    """How many times more or less than measured the device times of all these may be, together.

    Each is off on its own, so their logarithms add as squares do. One is off by its 95 % interval
    where that is known, and by the share that others took of a host that was not quiet.
    """
    return math.exp(math.hypot(*(math.log(_off(profile)) for profile in profiles)))


def _off(profile: Profile) -> float:
    known = [point for point in profile.latency if point.device_low_s > 0]
    ends = [(p.device_s / p.device_low_s, p.device_high_s / p.device_s) for p in known]
    busy = 1 + profile.others_share if profile.others_share > QUIET else 1.0
    return busy * max((max(1.0, *pair) for pair in ends), default=1.0)


def foretell(
    told: Profile, before: Profile, after: Profile, fixed_s: float, off: float = 1.0
) -> Profile:
    """`told`, changed as `before` was into `after`; estimated.

    At each batch size, what lies above `fixed_s` is multiplied by what the change did to what lies
    above it there, and by `off`; wall time moves with device time. Accuracy falls by as much as it
    did; a gain is taken for chance. Its interval is as wide as the wider of the two; twice as wide
    where `told` and `before` differ by a factor of a hundred in cost, and so on: what a large
    network bears a small one may not.
    """
    accuracy = told.accuracy - max(0.0, before.accuracy - after.accuracy)
    reach = max(1.0, decades(told, before))
    below = max(p.accuracy - p.accuracy_low for p in (told, after)) * reach
    above = max(p.accuracy_high - p.accuracy for p in (told, after)) * reach
    return structs.replace(
        told,
        accuracy=accuracy,
        accuracy_low=accuracy - below,
        accuracy_high=min(1.0, accuracy + above),
        accuracy_samples=after.accuracy_samples,
        latency=tuple(_moved(point, before, after, fixed_s, off) for point in told.latency),
        source="estimated",
    )


def _moved(
    point: LatencyPoint, before: Profile, after: Profile, fixed_s: float, off: float
) -> LatencyPoint:
    one, two = (_above(p, point.batch_size, fixed_s) for p in (before, after))
    ratio = off * (two / one if one else 1.0)
    fixed = min(fixed_s, point.device_s)
    return _times(point, (fixed + (point.device_s - fixed) * ratio) / point.device_s)


def times(told: Profile, factor: float) -> Profile:
    """`told`, all its times multiplied by `factor`."""
    return structs.replace(told, latency=tuple(_times(point, factor) for point in told.latency))


def _times(point: LatencyPoint, factor: float) -> LatencyPoint:
    """With an interval that is not known: it was that of another time."""
    return structs.replace(
        point,
        p50_s=point.p50_s * factor,
        p95_s=point.p95_s * factor,
        p99_s=point.p99_s * factor,
        device_s=point.device_s * factor,
        device_low_s=0.0,
        device_high_s=0.0,
    )


def _above(profile: Profile, items: int, fixed_s: float) -> float:
    return max(0.0, at(profile.latency, lambda point: point.device_s, items) - fixed_s)
