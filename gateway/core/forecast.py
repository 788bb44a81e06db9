"""Every variant as one request sees it now: profile + queue + price."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.core.batching import Lane
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
