"""What a cascade of two measured variants is expected to take and to cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from msgspec import structs

from compilers.profiling.scoring import Score
from model_repo.records import LatencyPoint, Profile
from model_repo.tensors import Array

Points = Sequence[LatencyPoint]
Field = Callable[[LatencyPoint], float]


def expected_profile(first: Profile, second: Profile, escalation: float, score: Score) -> Profile:
    """The profile of a cascade, computed from those of its stages; hence as measured as they are.

    Loading and memory are those of both stages. Times of two machines add up to those of neither:
    then it is estimated, however its stages were measured.
    """
    is_alike = first.machine == second.machine and first.source == second.source
    return structs.replace(
        first,
        accuracy=score.value,
        accuracy_low=score.low,
        accuracy_high=score.high,
        accuracy_samples=score.samples,
        latency=expected_latency(first.latency, second.latency, escalation),
        load_s=first.load_s + second.load_s,
        memory_bytes=first.memory_bytes + second.memory_bytes,
        host=" and ".join(dict.fromkeys((first.host, second.host))),
        source=first.source if is_alike else "estimated",
        measured_at=min(first.measured_at, second.measured_at),
        threads=max(first.threads, second.threads),
        versions=second.versions | first.versions,
        cpu_flags=tuple(flag for flag in first.cpu_flags if flag in second.cpu_flags),
        others_share=max(first.others_share, second.others_share),
        accuracy_origin=None,
    )


def expected_latency(first: Points, second: Points, escalation: float) -> tuple[LatencyPoint, ...]:
    """Times of a cascade at the batch sizes of its first stage.

    Of a batch of b rows K go on, K ~ Binomial(b, escalation): rows are sure or unsure each for
    itself. Device time is the mean, first(b) + E[second(K)]. A percentile of wall time is the first
    stage's at b plus the second's at the same percentile of K: for a lone request, the first
    stage's alone up to the percentile 1 - escalation. second(0) is 0; between measured sizes a
    stage is interpolated linearly, and past its largest it runs several times.
    """
    return tuple(_point(point, second, escalation) for point in first)


def _point(point: LatencyPoint, second: Points, escalation: float) -> LatencyPoint:
    size, shares = point.batch_size, _binomial(point.batch_size, escalation)

    def mean(seconds: Field) -> float:
        return seconds(point) + float(
            np.dot(shares, [at(second, seconds, k) for k in range(size + 1)])
        )

    p50, p95, p99 = (
        at(second, seconds, _quantile(shares, percentile)) for seconds, percentile in _PERCENTILES
    )
    is_known = all(p.device_high_s for p in (point, *second))
    return LatencyPoint(
        size,
        point.p50_s + p50,
        point.p95_s + p95,
        point.p99_s + p99,
        mean(lambda p: p.device_s),
        min(point.runs, *(p.runs for p in second)),
        mean(lambda p: p.device_low_s) if is_known else 0.0,
        mean(lambda p: p.device_high_s) if is_known else 0.0,
    )


_PERCENTILES: tuple[tuple[Field, float], ...] = (
    (lambda p: p.p50_s, 0.50),
    (lambda p: p.p95_s, 0.95),
    (lambda p: p.p99_s, 0.99),
)


def at(points: Points, seconds: Field, items: int) -> float:
    """Seconds for `items` rows: linear between measured sizes, in several runs past the largest."""
    sizes, measured = [p.batch_size for p in points], [seconds(p) for p in points]
    whole, rest = divmod(items, sizes[-1])
    return whole * measured[-1] + (float(np.interp(rest, sizes, measured)) if rest else 0.0)


def _binomial(total: int, share: float) -> Array:
    """P(K = k) for k from 0 to `total`; by logarithms, as the coefficients leave every range."""
    if share in (0.0, 1.0):
        certain: Array = np.eye(total + 1)[int(share) * total]
        return certain
    ways = [
        math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1)
        for k in range(total + 1)
    ]
    k = np.arange(total + 1)
    found: Array = np.exp(ways + k * math.log(share) + (total - k) * math.log1p(-share))
    return found


def _quantile(shares: Array, percentile: float) -> int:
    """The smallest k with P(K <= k) >= percentile."""
    reached = np.flatnonzero(np.cumsum(shares) >= percentile - 1e-9)
    return int(reached[0]) if len(reached) else len(shares) - 1
