"""The Prometheus page: every name of ours, and figures that add up."""

from __future__ import annotations

import asyncio
import re
import time
from itertools import pairwise
from pathlib import Path

import pytest
from builders import request, serving, shelve, slo, variant
from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import Page
from model_repo.errors import FareboxError

README = Path(__file__).parents[1] / "gateway" / "README.md"
NAMES = {
    "farebox_build_info": "gauge",
    "farebox_requests": "counter",
    "farebox_request_seconds": "histogram",
    "farebox_queue_seconds": "histogram",
    "farebox_batch_size": "histogram",
    "farebox_cascade_rows": "counter",
    "farebox_cascade_escalated_rows": "counter",
    "farebox_cascade_expected_escalation_ratio": "gauge",
    "farebox_device_seconds": "counter",
    "farebox_cost_usd": "counter",
    "farebox_reference_cost_usd": "counter",
    "farebox_routed_cost_usd": "counter",
    "farebox_slo_requests": "counter",
    "farebox_route_refusals": "counter",
    "farebox_replicas": "gauge",
    "farebox_accuracy_low": "gauge",
    "farebox_variant_info": "gauge",
    "farebox_forecast_error_ratio": "gauge",
}
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def families(page: bytes) -> tuple[dict[str, str], Samples]:
    found = list(text_string_to_metric_families(page.decode()))
    samples: Samples = {}
    for family in found:
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in samples, "a series is given once"
            samples[key] = sample.value
    return {family.name: family.type for family in found}, samples


@pytest.fixture
def pages(tmp_path: Path) -> list[bytes]:
    """Scraped before any request, after a few, after a closed minute and a price change."""
    store = shelve(tmp_path / "r", variant("ref", 0.01, 0.95), variant("low", 0.001, 0.8))
    seen: list[bytes] = []

    async def main() -> None:
        async with serving(store) as plane:
            ledger = plane.scheduler.books["cpu"]
            ledger._opened_ns = time.monotonic_ns()
            page = Page(plane, "1.2", lambda: {"cpu": "box"})
            seen.append(page.scrape())
            for bounds in (slo(), slo(60.0, 0.9), slo(accuracy=0.99)):
                try:
                    await plane.infer(request(2, received_s=time.monotonic(), slo=bounds))
                except FareboxError:
                    continue
            seen.append(page.scrape())
            ledger.close_minute(time.monotonic_ns())
            seen.append(page.scrape())
            ledger.change_price(time.monotonic_ns(), 5.0)
            seen.append(page.scrape())

    asyncio.run(main())
    return seen


def value(samples: Samples, name: str, **labels: str) -> float:
    wanted = labels.items()
    return sum(v for (n, found), v in samples.items() if n == name and wanted <= set(found))


def test_every_name_that_the_readme_tells_is_on_the_page(pages: list[bytes]) -> None:
    told = set(re.findall(r"farebox_\w+", README.read_text(encoding="utf-8")))
    assert "farebox_cascade_expected_escalation_ratio" in told, "the rule for Prometheus has it"
    assert told <= set(re.findall(r"# TYPE (\w+)", pages[0].decode()))


def test_every_name_is_there_with_its_type(pages: list[bytes]) -> None:
    for page in pages:
        types, _ = families(page)
        assert types == NAMES


def test_requests_are_counted_by_what_became_of_them(pages: list[bytes]) -> None:
    _, samples = families(pages[1])
    assert value(samples, "farebox_requests_total", variant="low", outcome="ok") == 1
    assert value(samples, "farebox_requests_total", variant="ref", outcome="ok") == 1
    assert value(samples, "farebox_requests_total", outcome="failed_precondition") == 1
    assert value(samples, "farebox_slo_requests_total", slo="accuracy", met="true") == 1
    assert value(samples, "farebox_slo_requests_total", slo="accuracy", met="false") == 1
    assert value(samples, "farebox_route_refusals_total", reason="accuracy") == 2
    assert value(samples, "farebox_batch_size_sum") == 4
    assert value(samples, "farebox_replicas", state="ready") == 2
    assert value(samples, "farebox_accuracy_low", variant="ref") == 0.95


def test_histograms_are_cumulative_and_end_at_their_count(pages: list[bytes]) -> None:
    _, samples = families(pages[1])
    for name in ("farebox_request_seconds", "farebox_queue_seconds"):
        buckets = {
            float(dict(labels)["le"]): v
            for (found, labels), v in samples.items()
            if found == f"{name}_bucket"
        }
        ordered = [buckets[bound] for bound in sorted(buckets)]
        assert ordered == sorted(ordered)
        assert ordered[-1] == value(samples, f"{name}_count", model="toy") == 2


def test_no_counter_ever_falls(pages: list[bytes]) -> None:
    for before, after in pairwise(pages):
        _, old = families(before)
        _, new = families(after)
        for key, number in old.items():
            if key[0].endswith(("_total", "_count", "_sum", "_bucket")):
                assert new[key] >= number - 1e-12, key


def test_money_adds_up(pages: list[bytes]) -> None:
    _, samples = families(pages[2])
    usage = value(samples, "farebox_cost_usd_total", basis="usage")
    attributed = value(samples, "farebox_device_seconds_total", state="attributed")
    assert usage == pytest.approx(attributed * 0.001)
    spread = value(samples, "farebox_cost_usd_total", basis="allocation")
    idle = value(samples, "farebox_device_seconds_total", state="idle")
    assert spread <= (attributed + idle) * 0.001 + 1e-12
    assert value(samples, "farebox_routed_cost_usd_total") == pytest.approx(usage)
    assert value(samples, "farebox_reference_cost_usd_total", tenant="default") > usage
