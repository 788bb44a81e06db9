"""The Prometheus page, formed at scrape from ledger, tally and catalog."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from gateway.core.tally import Histogram
from gateway.dataplane import DataPlane

_ACCOUNT = ["model", "version", "variant", "target", "tenant"]


class Page:
    """A collector that counts nothing itself."""

    def __init__(
        self, plane: DataPlane, version: str, instances: Callable[[], dict[str, str]]
    ) -> None:
        self._plane, self._version, self._instances = plane, version, instances
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def scrape(self) -> bytes:
        """The page as bytes."""
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        """Nothing is known before the first scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("farebox_build", "The running version.", {"version": self._version})
        yield from self._requests()
        yield from self._cascades()
        yield from self._money()
        yield from self._state()

    def _requests(self) -> Iterator[Metric]:
        tally = self._plane.scheduler.tally
        yield _counter(
            "farebox_requests_total",
            "Requests by outcome.",
            [*_ACCOUNT, "outcome"],
            tally.requests.items(),
        )
        yield _histogram(
            "farebox_request_seconds",
            "From request read to answer ready.",
            ["model"],
            [((model,), h) for model, h in tally.request_s.items()],
        )
        yield _histogram(
            "farebox_queue_seconds",
            "From request read to batch started.",
            ["model"],
            [((model,), h) for model, h in tally.queue_s.items()],
        )
        yield _histogram(
            "farebox_batch_size",
            "Rows that ran together.",
            ["model", "version", "variant"],
            [((k.model, k.version, k.variant), h) for k, h in tally.batch_sizes.items()],
        )
        yield _counter(
            "farebox_slo_requests_total",
            "Requests that asked for a bound, by whether it was met.",
            ["slo", "met"],
            [((slo, str(met).lower()), n) for (slo, met), n in tally.slos.items()],
        )
        yield _counter(
            "farebox_route_refusals_total",
            "Variants refused for requests that nothing fitted, by the first bound they broke.",
            ["reason"],
            [((reason,), n) for reason, n in tally.refusals.items()],
        )
        yield _gauge(
            "farebox_forecast_error_ratio",
            "Mean of latency over forecast latency; 1 is exact.",
            ["model", "version", "variant"],
            [
                ((k.model, k.version, k.variant), mean.value or 0.0)
                for k, mean in tally.forecast_ratio.items()
            ],
        )

    def _cascades(self) -> Iterator[Metric]:
        tally, labels = self._plane.scheduler.tally, ["model", "version", "variant"]
        yield _counter(
            "farebox_cascade_rows_total",
            "Rows that the first stage of a cascade answered.",
            labels,
            [((k.model, k.version, k.variant), n) for k, n in tally.cascade_rows.items()],
        )
        yield _counter(
            "farebox_cascade_escalated_rows_total",
            "Rows that went on to the second stage of a cascade.",
            labels,
            [((k.model, k.version, k.variant), n) for k, n in tally.cascade_escalated.items()],
        )
        yield _gauge(
            "farebox_cascade_expected_escalation_ratio",
            "Share of rows that went on when the cascade was calibrated.",
            labels,
            [
                ((o.key.model, o.key.version, o.key.variant), o.cascade.escalation)
                for o in self._plane.catalog.offers()
                if o.cascade
            ],
        )

    def _money(self) -> Iterator[Metric]:
        books = self._plane.scheduler.books
        now_ns = time.monotonic_ns()
        pools = [(name, books[device]) for device, name in self._instances().items()]
        yield _counter(
            "farebox_device_seconds_total",
            "Device time provisioned so far, less what running batches hold.",
            ["instance", "state"],
            [((name, "attributed"), ledger.attributed_ns / 1e9) for name, ledger in pools]
            + [((name, "idle"), ledger.idle_ns(now_ns) / 1e9) for name, ledger in pools],
        )
        accounts = [(key, books.dollars(key)) for key in books.accounts()]
        labels = [((k.model, k.version, k.variant, k.target, k.tenant), usd) for k, usd in accounts]
        yield _counter(
            "farebox_cost_usd_total",
            "Cost of requests: usage is what their batches used, allocation adds idle time.",
            ["basis", *_ACCOUNT],
            [(("usage", *names), usd.usage) for names, usd in labels]
            + [(("allocation", *names), usd.allocation) for names, usd in labels],
        )
        reference: dict[tuple[str, str], float] = {}
        routed: dict[tuple[str, str], float] = {}
        for key, usd in accounts:
            if key.model:
                at = (key.model, key.tenant)
                reference[at] = reference.get(at, 0.0) + usd.reference
                routed[at] = routed.get(at, 0.0) + usd.routed
        yield _counter(
            "farebox_reference_cost_usd_total",
            "What the same requests would have cost on the reference variant.",
            ["model", "tenant"],
            reference.items(),
        )
        yield _counter(
            "farebox_routed_cost_usd_total",
            "What the same requests cost, or in report-only mode would have cost, as routed.",
            ["model", "tenant"],
            routed.items(),
        )

    def _state(self) -> Iterator[Metric]:
        offers = self._plane.catalog.offers()
        yield _gauge(
            "farebox_variant_info",
            "Where a variant runs, and whether its profile was measured, emulated or estimated.",
            ["model", "version", "variant", "target", "runs_on", "source"],
            [
                (
                    (
                        *(offer.key.model, offer.key.version, offer.key.variant),
                        *(offer.variant.target, offer.device, offer.variant.profile.source),
                    ),
                    1.0,
                )
                for offer in offers
            ],
        )
        states: dict[tuple[str, str, str, str, str], int] = {}
        for replica, target in self._plane.replicas():
            at = (
                replica.key.model,
                replica.key.version,
                replica.key.variant,
                target,
                replica.state,
            )
            states[at] = states.get(at, 0) + 1
        yield _gauge(
            "farebox_replicas",
            "Running copies of a variant.",
            ["model", "version", "variant", "target", "state"],
            states.items(),
        )
        yield _gauge(
            "farebox_accuracy_low",
            "Lower end of a variant's 95 % accuracy interval.",
            ["model", "version", "variant"],
            [
                ((o.key.model, o.key.version, o.key.variant), o.variant.profile.accuracy_low)
                for o in offers
            ],
        )


Samples = Any  # an iterable of (label values, number or histogram)


def _counter(name: str, text: str, labels: list[str], samples: Samples) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def _gauge(name: str, text: str, labels: list[str], samples: Samples) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def _histogram(
    name: str, text: str, labels: list[str], samples: list[tuple[tuple[str, ...], Histogram]]
) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, histogram in samples:
        seen, buckets = 0, []
        for bound, count in zip([*histogram.bounds, float("inf")], histogram.counts, strict=True):
            seen += count
            buckets.append(("+Inf" if bound == float("inf") else str(bound), float(seen)))
        family.add_metric(values, buckets, histogram.total)
    return family
