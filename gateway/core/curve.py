"""What a batch of any size will take and cost, from the sizes that were measured."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from model_repo.records import LatencyPoint, Profile


class Curve(Struct, frozen=True):
    """Seconds of service and of device time, indexed by batch size from 0 to `largest`."""

    service_s: tuple[float, ...]
    device_s: tuple[float, ...]
    largest: int

    def service(self, items: int) -> float:
        """Seconds to serve `items`; past the largest batch they are split into several."""
        return _split(self.service_s, self.largest, items)

    def device(self, items: int) -> float:
        """Busy device-seconds of `items`, split likewise."""
        return _split(self.device_s, self.largest, items)


def curve(profile: Profile, percentile: float, batches: bool) -> Curve:
    """Interpolate the profile linearly between measured batch sizes.

    percentile: 0.5 to 0.99, interpolated between the measured p50, p95 and p99.
    Below the smallest measured size the smallest stands; a model that does not batch has size 1.
    """
    points = profile.latency if batches else profile.latency[:1]
    largest = points[-1].batch_size if batches else 1
    sizes = [point.batch_size for point in points]
    at = [_at_percentile(point, percentile) for point in points]
    device = [point.device_s for point in points]
    return Curve(
        (0.0, *(_interpolate(sizes, at, b) for b in range(1, largest + 1))),
        (0.0, *(_interpolate(sizes, device, b) for b in range(1, largest + 1))),
        largest,
    )


def _at_percentile(point: LatencyPoint, percentile: float) -> float:
    return _interpolate([0.5, 0.95, 0.99], [point.p50_s, point.p95_s, point.p99_s], percentile)


def _interpolate(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    if x <= xs[0]:
        return ys[0]
    for i in range(1, len(xs)):
        if x <= xs[i]:
            share = (x - xs[i - 1]) / (xs[i] - xs[i - 1])
            return ys[i - 1] + share * (ys[i] - ys[i - 1])
    return ys[-1]


def _split(table: Sequence[float], largest: int, items: int) -> float:
    whole, rest = divmod(items, largest)
    return whole * table[largest] + table[rest]
