"""What routing saves on digits: dollars per million under load, metered by the ledger.

Callers need 95 % accuracy within 20 ms. The same load runs twice against the real gateway: once
routed, once with the reference serving everyone (`--report-only`). `make bench-savings` runs it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import load
import numpy as np
import servers
import uvloop
from prometheus_client.parser import text_string_to_metric_families

from compilers.commands.compile import find_recipe
from compilers.datasets import Data
from compilers.materials import gather
from compilers.plan import read_plan

MODEL, LATENCY_MS, ACCURACY, TARGET = "digits", 20.0, 0.95, 5.0
SLO = {"x-slo-latency-ms": str(LATENCY_MS), "x-slo-min-accuracy": str(ACCURACY)}
INFER = f"/v2/models/{MODEL}/infer"


@dataclass(frozen=True)
class Run:
    """One served load: dollars and requests as the ledger has them, and how well it was served."""

    usd: float
    requests: float
    met: float
    asked: float
    load: load.Load
    served: dict[str, float]

    @property
    def usd_per_million(self) -> float:
        return self.usd / self.requests * 1e6


def bodies(data: Data) -> list[bytes]:
    """One request for each held-out image."""
    ((name, images),) = data.inputs.items()
    return [
        json.dumps(
            {
                "inputs": [
                    {
                        "name": name,
                        "datatype": "FP32",
                        "shape": [1, *image.shape],
                        "data": image.ravel().tolist(),
                    }
                ]
            }
        ).encode()
        for image in images
    ]


def scrape(port: int) -> dict[tuple[str, str, str], float]:
    """(metric, first label that tells, variant) -> value, summed over the other labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
        text = page.read().decode()
    found: dict[tuple[str, str, str], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = sample.labels
            tells = labels.get("basis") or labels.get("outcome") or labels.get("met") or ""
            key = (sample.name, tells, labels.get("variant", ""))
            found[key] = found.get(key, 0.0) + sample.value
    return found


def total(page: dict[tuple[str, str, str], float], metric: str, tells: str) -> float:
    return sum(v for (name, t, _), v in page.items() if name == metric and t == tells)


def answer(port: int, body: bytes) -> dict:  # type: ignore[type-arg]  # a JSON document
    request = urllib.request.Request(f"http://127.0.0.1:{port}{INFER}", body, SLO)
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)


def right_answers(port: int, requests: list[bytes], data: Data) -> float:
    """The share of held-out images answered rightly with the SLO."""
    assert data.labels is not None
    right = [
        int(np.argmax(answer(port, body)["outputs"][0]["data"])) == label
        for body, label in zip(requests, data.labels, strict=True)
    ]
    return sum(right) / len(right)


def serve_load(repository: Path, data: Data, seconds: float, *flags: str) -> tuple[Run, float]:
    requests = bodies(data)
    raw = [load.http_request(INFER, body, SLO) for body in requests]
    http, grpc = servers.free_port(), servers.free_port()
    with servers.running(servers.gateway(repository, http, grpc, *flags), http) as process:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(load.http(http, process.pid, raw, 1.0))
            before = scrape(http)
            done = runner.run(load.http(http, process.pid, raw, seconds))
            after = scrape(http)
        accuracy = right_answers(http, requests, data)
    page = {key: value - before.get(key, 0.0) for key, value in after.items()}
    served = {
        v: n
        for (name, t, v), n in page.items()
        if name == "farebox_requests_total" and t == "ok" and n
    }
    run = Run(
        total(page, "farebox_cost_usd_total", "usage"),
        total(page, "farebox_requests_total", "ok"),
        total(page, "farebox_slo_requests_total", "true"),
        total(page, "farebox_slo_requests_total", "true")
        + total(page, "farebox_slo_requests_total", "false"),
        done,
        served,
    )
    return run, accuracy


def line(name: str, run: Run, accuracy: float) -> str:
    p99 = float(np.percentile(run.load.latencies_s, 99)) * 1e3
    shares = ", ".join(f"{v} {n / run.requests:.0%}" for v, n in sorted(run.served.items()))
    return (
        f"{name:<18} {run.usd_per_million:>15.3g} {run.load.per_second:>11,.0f} "
        f"{p99:>7.2f} {run.load.errors:>7} {run.met / run.asked:>10.2%} {accuracy:>9.2%}  {shares}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    plan = read_plan(find_recipe(MODEL))
    data = gather(plan, lambda text: print(text, file=sys.stderr)).splits.held_out
    routed, routed_accuracy = serve_load(args.repository, data, args.seconds)
    always, always_accuracy = serve_load(args.repository, data, args.seconds, "--report-only")
    print(
        f"{MODEL}, 16 connections, one image a request, SLO: accuracy at least {ACCURACY:.0%} "
        f"(lower end of 95 % interval) within {LATENCY_MS:.0f} ms"
    )
    print(
        f"{'served':<18} {'usd per million':>15} {'requests/s':>11} {'p99 ms':>7} {'refused':>7} "
        f"{'bounds met':>10} {'right':>9}  by"
    )
    print(line("routed", routed, routed_accuracy))
    print(line("always reference", always, always_accuracy))
    ratio = always.usd_per_million / routed.usd_per_million
    word = "met" if ratio >= TARGET else "MISSED"
    print(f"{ratio:.1f}x cheaper, metered by the ledger (target at least {TARGET:.0f}x: {word})")


if __name__ == "__main__":
    main()
