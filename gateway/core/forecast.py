"""Every variant as one request sees it now: profile + queue + price."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gateway.core.batching import Lane, Stages
from model_repo.records import Candidate


def candidates(lanes: Sequence[Lane], items: int, waits: Sequence[float] | None) -> list[Candidate]:
    """A candidate for each lane, for a request of `items` rows that waits `waits` for a device.

    Latency is the wait plus the service of the batch it would join: all that is queued for the
    variant, and itself. Cost is its share of that batch; no future arrivals are hoped for.
    """
    found = []
    for index, lane in enumerate(lanes):
        queued = lane.queued_items
        batch = queued + items
        if batch <= lane.largest:
            latency, cost = lane.service_s[batch], items * lane.usd_per_item[batch]
        else:
            curve = lane.offer.curve
            latency = curve.service(batch)
            cost = curve.device(items) * lane.offer.usd_per_device_s
            batch = min(batch, max(lane.largest, items))
        if waits is not None:
            latency += waits[index]
        found.append(Candidate(lane.key, lane.accuracy_low, latency, cost, queued, True, batch))
    return found


def idle(lanes: Sequence[Lane], items: int) -> list[Candidate]:
    """The candidates as they would be with nothing queued or running."""
    return [
        Candidate(
            lane.key,
            lane.accuracy_low,
            lane.offer.curve.service(items),
            lane.offer.curve.device(items) * lane.offer.usd_per_device_s,
            0,
            True,
            items,
        )
        for lane in lanes
    ]


def cascaded(
    cascades: Sequence[Stages], items: int, waits: Sequence[float] | None, is_idle: bool = False
) -> list[Candidate]:
    """A candidate for each cascade; `waits` has two for each, its first stage's and its second's.

    Which rows will go on is not known before: the latency leaves room for all of them, the cost
    expects the share that was seen when the cascade was calibrated.
    """
    found = []
    for index, each in enumerate(cascades):
        first, second = each.first, each.second
        ahead, behind = (0, 0) if is_idle else (first.queued_items, second.queued_items)
        expected = items * each.cascade.escalation
        batch, again, rows = ahead + items, behind + items, math.ceil(expected)
        if batch <= first.largest and again <= second.largest:
            latency = first.service_s[batch] + second.service_s[again]
            cost = items * first.usd_per_item[batch] + expected * second.usd_per_item[behind + rows]
        else:
            latency = first.offer.curve.service(batch) + second.offer.curve.service(again)
            cost = _share_usd(first, items, ahead)
            cost += _share_usd(second, rows, behind) * expected / max(rows, 1)
            batch = min(batch, max(first.largest, items))
        if waits is not None:
            latency += waits[2 * index] + waits[2 * index + 1]
        found.append(Candidate(each.key, each.accuracy_low, latency, cost, ahead, True, batch))
    return found


def _share_usd(lane: Lane, items: int, queued: int) -> float:
    """What `items` rows cost in the batch they join behind `queued`."""
    if queued + items <= lane.largest:
        return items * lane.usd_per_item[queued + items]
    return lane.offer.curve.device(items) * lane.offer.usd_per_device_s
