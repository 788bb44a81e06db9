"""A cascade of two ONNX files behind a real gateway: both clients, the command, the metrics."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import staged
import tritonclient.grpc
import tritonclient.http
from gateway_process import Gateway, farebox, gateway
from prometheus_client.parser import text_string_to_metric_families

THRESHOLD = 6.5
FACTS = {"variant", "cost_usd", "accuracy_low", "forecast_latency_ms", "slo_met", "escalated_rows"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, book: Path) -> Iterator[Gateway]:
    """Serves ref, low and cas, a cascade of both."""
    store = staged.shelve(tmp_path_factory.mktemp("staged") / "repository", THRESHOLD)
    with gateway("--repository", store.root, "--prices", book) as made:
        yield made


def call(running: Gateway, kind: str, x: Any, **parameters: Any) -> tuple[Any, dict[str, Any]]:
    """(the answer, its parameters) through one of Triton's clients."""
    module: Any = tritonclient.http if kind == "http" else tritonclient.grpc
    port = running.http if kind == "http" else running.grpc
    client = module.InferenceServerClient(f"127.0.0.1:{port}")
    try:
        given = module.InferInput("x", list(x.shape), "FP32")
        given.set_data_from_numpy(x)
        answer = client.infer("staged", [given], parameters=parameters)
    finally:
        client.close()
    if kind == "http":
        return answer, dict(answer.get_response()["parameters"])
    known = answer.get_response().parameters
    return answer, {n: getattr(p, p.WhichOneof("parameter_choice")) for n, p in known.items()}


def page(running: Gateway) -> dict[tuple[str, str, str], float]:
    """(metric, variant, basis) -> value, summed over the other labels."""
    _, _, text = running.ask("GET", "/metrics", port=running.metrics)
    found: dict[tuple[str, str, str], float] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = sample.labels
            key = sample.name, labels.get("variant", ""), labels.get("basis", "")
            found[key] = found.get(key, 0.0) + sample.value
    return found


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_many_at_once_get_the_offline_answer_and_pay_what_the_ledger_says(
    running: Gateway, kind: str
) -> None:
    before = page(running)
    inputs = [staged.rows(1 + seed % 8, seed) for seed in range(24)]
    pins = ["cas", "cas", "low"]

    def ask(place: int) -> tuple[Any, dict[str, Any]]:
        return call(running, kind, inputs[place], variant=pins[place % 3])

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(len(inputs))))
    seen = went_on = 0
    for place, (answer, facts) in enumerate(answers):
        is_cascade = pins[place % 3] == "cas"
        scores, on = staged.offline(inputs[place], THRESHOLD if is_cascade else -1.0)
        assert np.array_equal(answer.as_numpy("y"), scores)
        assert np.array_equal(answer.as_numpy("best")[:, 0], scores.argmax(axis=1))
        assert facts["variant"] == pins[place % 3]
        assert set(facts) == (FACTS if is_cascade else FACTS - {"escalated_rows"})
        if is_cascade:
            assert facts["escalated_rows"] == on.sum()
            seen, went_on = seen + len(on), went_on + int(on.sum())
    after = page(running)
    grown = {key: value - before.get(key, 0.0) for key, value in after.items()}
    assert 0 < went_on < seen
    assert grown["farebox_cascade_rows_total", "cas", ""] == seen
    assert grown["farebox_cascade_escalated_rows_total", "cas", ""] == went_on
    assert after["farebox_cascade_expected_escalation_ratio", "cas", ""] == 0.25
    assert grown["farebox_requests_total", "cas", ""] == 16
    usage = {name: usd for (metric, name, basis), usd in grown.items()
             if (metric, basis) == ("farebox_cost_usd_total", "usage") and name}  # fmt: skip
    assert set(usage) == {"low", "ref"}, "each batch is charged to the variant that ran"
    assert sum(usage.values()) == pytest.approx(sum(facts["cost_usd"] for _, facts in answers))


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_it_is_routed_to_when_it_is_the_cheapest_that_fits(running: Gateway, kind: str) -> None:
    _, facts = call(running, kind, staged.rows(4, 1), slo_min_accuracy=0.9)
    assert (facts["variant"], facts["accuracy_low"], facts["slo_met"]) == ("cas", 0.93, True)
    _, facts = call(running, kind, staged.rows(4, 1), slo_min_accuracy=0.94)
    assert facts["variant"] == "ref"


def test_the_command_shows_it(running: Gateway, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"x": staged.rows(3, 7).tolist()}))
    url = f"http://127.0.0.1:{running.http}"
    flags = ("--slo-min-accuracy", "0.9", "--explain", "--url", url)
    done = farebox("infer", "staged", "--input", path, *flags)
    assert done.returncode == 0, done.stderr
    assert "variant: cas" in done.stdout and "escalated_rows: " in done.stdout
    told = json.loads(farebox("infer", "staged", "--input", path, *flags, "--json").stdout)
    shown = {c["variant"]: c for c in told["parameters"]["explain"]["candidates"]}
    stages = {"first": "low", "second": "ref", "threshold": THRESHOLD, "expected_escalation": 0.25}
    assert stages.items() <= shown["cas"].items() and "first" not in shown["ref"]


def test_the_model_is_described_by_its_reference(running: Gateway) -> None:
    _, _, text = running.ask("GET", "/v2/models/staged")
    assert json.loads(text)["platform"] == "farebox_onnx_graph"
    _, _, text = running.ask("GET", "/v2/models/staged/config")
    assert json.loads(text)["max_batch_size"] == 8
