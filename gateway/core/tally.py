"""What was counted: requests by outcome, time and batch histograms, SLOs met, refusals."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

from gateway.core.statistics import Statistics
from model_repo.records import SLO, VariantKey

Key = TypeVar("Key")
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)


class Histogram:
    """Counts under upper bounds; `counts` has one more place, for what is over them all."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Mean:
    """A running mean that forgets: each new value weighs 1/64."""

    def __init__(self) -> None:
        self.value: float | None = None

    def observe(self, value: float) -> None:
        """Take in one value."""
        self.value = value if self.value is None else self.value + (value - self.value) / 64


class Tally:
    """Counters that a scrape reads; adding to one costs well under a microsecond.

    requests: (model, version, variant, target, tenant, outcome); slos: (bound, met); cascades: rows
    that a cascade's first stage answered, and how many of them went on.
    """

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, str, str, str, str]] = Counter()
        self.slos: Counter[tuple[str, bool]] = Counter()
        self.refusals: Counter[str] = Counter()
        self.cascade_rows: Counter[VariantKey] = Counter()
        self.cascade_escalated: Counter[VariantKey] = Counter()
        self.statistics = Statistics()
        self.request_s: dict[str, Histogram] = {}
        self.queue_s: dict[str, Histogram] = {}
        self.batch_sizes: dict[VariantKey, Histogram] = {}
        self.forecast_ratio: dict[VariantKey, Mean] = {}

    def missed(self, slo: SLO) -> None:
        """A request got no answer: none of the bounds it asked for was met."""
        self.met(slo, math.inf, -math.inf, math.inf)

    def refused(self, slo: SLO, reasons: Sequence[tuple[str, str]]) -> None:
        """A request nothing fitted: count each variant under the first bound it failed."""
        self.missed(slo)
        for _, reason in reasons:
            self.refusals[reason.partition(":")[0]] += 1

    def batch(self, key: VariantKey, items: int) -> None:
        """A batch ended."""
        _at(self.batch_sizes, key, SIZES).observe(items)

    def judged(self, key: VariantKey, rows: int, escalated: int) -> None:
        """A cascade's first stage answered, and some of the rows go on."""
        self.cascade_rows[key] += rows
        self.cascade_escalated[key] += escalated

    def served(
        self,
        key: VariantKey,
        target: str,
        tenant: str,
        queue_s: float,
        took_s: float,
        forecast_s: float,
        at_ms: int,
    ) -> None:
        """A request was answered `took_s` after it was read, at `at_ms` since 1970."""
        stats = self.statistics.of(key)
        stats.last_ms = at_ms
        stats.add("success", round(took_s * 1e9))
        stats.add("queue", round(queue_s * 1e9))
        self.requests[key.model, key.version, key.variant, target, tenant, "ok"] += 1
        _at(self.request_s, key.model, SECONDS).observe(took_s)
        _at(self.queue_s, key.model, SECONDS).observe(queue_s)
        ratio = self.forecast_ratio.get(key)
        if ratio is None:
            ratio = self.forecast_ratio[key] = Mean()
        ratio.observe(took_s / forecast_s)

    def met(self, slo: SLO, took_s: float, accuracy_low: float, cost_usd: float) -> bool:
        """Count each bound that was asked for; returns whether all were met."""
        held = True
        if slo.latency_s is not None:
            held &= self._bound("latency", took_s <= slo.latency_s)
        if slo.min_accuracy is not None:
            held &= self._bound("accuracy", accuracy_low >= slo.min_accuracy)
        if slo.max_cost_usd is not None:
            held &= self._bound("cost", cost_usd <= slo.max_cost_usd)
        return held

    def _bound(self, name: str, is_met: bool) -> bool:
        self.slos[name, is_met] += 1
        return is_met


def _at(found: dict[Key, Histogram], key: Key, bounds: Sequence[float]) -> Histogram:
    histogram = found.get(key)
    if histogram is None:
        histogram = found[key] = Histogram(bounds)
    return histogram
