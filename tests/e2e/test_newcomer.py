"""What the README promises a newcomer, with the real recipe, server and clients."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from model_repo.records import VariantKey
from model_repo.store import Store

ROOT = Path(__file__).parents[2]
REPOSITORY = ROOT / "tests" / ".models"  # keeps the step cache, so that only the first run trains
FAREBOX = [sys.executable, "-m", "model_repo.cli"]
LARGEST = 32  # rows: the largest batch that is profiled
pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True)
class Gateway:
    http: str
    grpc: str
    metrics: str


def farebox(*words: str) -> str:
    done = subprocess.run([*FAREBOX, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def table() -> list[dict[str, Any]]:
    """The published table of a fresh compile of digits."""
    subprocess.run(
        [*FAREBOX, "remove", "digits", "--repository", str(REPOSITORY)],
        check=False,
        capture_output=True,
    )
    farebox("compile", "digits", "--repository", str(REPOSITORY))
    rows: list[dict[str, Any]] = json.loads(
        farebox("report", "digits", "--json", "--repository", str(REPOSITORY))
    )
    return rows


@pytest.fixture(scope="module")
def iris(table: list[dict[str, Any]]) -> str:
    """A real ONNX model that we did not make."""
    from onnxruntime.datasets import get_example

    subprocess.run(
        [*FAREBOX, "remove", "iris", "--repository", str(REPOSITORY)],
        check=False,
        capture_output=True,
    )
    farebox(
        "import", get_example("logreg_iris.onnx"), "--name", "iris", "--repository", str(REPOSITORY)
    )
    return "iris"


@pytest.fixture(scope="module")
def gateway(iris: str) -> Iterator[Gateway]:
    ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    command = [*FAREBOX, "serve", "--welcome", "--repository", str(REPOSITORY), *ports]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        found = re.search(r"HTTP http://(\S+), gRPC (\S+)\.", lines[0])
        metrics = re.search(r"http://(\S+)/metrics", lines[4])
        assert found and metrics, lines
        yield Gateway(found[1], found[2], metrics[1])
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def images() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return (digits.images / 16).astype(np.float32)[:, None], digits.target


def ask(gateway: Gateway, image: np.ndarray[Any, Any], **parameters: object) -> Any:
    with triton_http.InferenceServerClient(gateway.http) as client:
        tensor = triton_http.InferInput(input_name(client), list(image.shape), "FP32")
        tensor.set_data_from_numpy(image)
        return client.infer("digits", [tensor], parameters=parameters)


def input_name(client: Any) -> str:
    return str(client.get_model_metadata("digits")["inputs"][0]["name"])


def cheapest(table: list[dict[str, Any]], floor: float, rows: int) -> str:
    """What a request of so many rows with this floor should get, by what is published of each."""
    able = [row for row in table if row["accuracy_low"] >= floor]
    return str(min(able, key=lambda row: cost(row, rows))["variant"])


def cost(row: dict[str, Any], rows: int) -> float:
    """A lone row's dollars by the table; of more rows the device time, which all pay alike."""
    if rows == 1:
        return float(row["usd_per_million_batch1"])
    key = VariantKey(row["model"], row["version"], row["variant"])
    latency = Store(REPOSITORY).variant(key).profile.latency
    return next(point.device_s for point in latency if point.batch_size == rows)


def test_the_table_has_variants_with_a_real_spread(table: list[dict[str, Any]]) -> None:
    seconds = [row["device_s_per_item"] for row in table]
    assert len(table) >= 6
    assert max(seconds) >= 5 * min(seconds)
    assert len({row["accuracy"] for row in table}) >= 4
    assert all(row["accuracy_low"] < row["accuracy"] <= row["accuracy_high"] for row in table)
    assert [row["kind"] for row in table].count("reference") == 1


@pytest.mark.parametrize("rows", [1, LARGEST])
def test_each_floor_gets_the_cheapest_variant_by_the_table(
    gateway: Gateway, table: list[dict[str, Any]], rows: int
) -> None:
    image = images()[0][:rows]
    lows = {row["accuracy_low"] for row in table}
    floors = {cheapest(table, low, rows): low for low in lows}
    for name, floor in floors.items():
        answer = ask(gateway, image, slo_min_accuracy=floor, slo_latency_ms=500.0)
        facts = answer.get_response()["parameters"]
        assert facts["variant"] == name
        assert facts["slo_met"] is True
        assert facts["accuracy_low"] >= floor
    # Lone rows cost little but the waking: which small network is cheapest then, noise decides.
    assert rows == 1 or len(floors) >= 3


def test_answers_are_right_over_both_protocols(gateway: Gateway) -> None:
    pictures, labels = images()
    over_http = ask(gateway, pictures, slo_min_accuracy=0.95)  # 1797 rows: run in pieces
    name = over_http.get_response()["outputs"][0]["name"]
    scores = over_http.as_numpy(name)
    assert (scores.argmax(1) == labels).mean() >= 0.95
    with triton_grpc.InferenceServerClient(gateway.grpc) as client:
        metadata = client.get_model_metadata("digits")
        tensor = triton_grpc.InferInput(metadata.inputs[0].name, list(pictures.shape), "FP32")
        tensor.set_data_from_numpy(pictures)
        over_grpc = client.infer("digits", [tensor], parameters={"slo_min_accuracy": 0.95})
    np.testing.assert_allclose(over_grpc.as_numpy(name), scores, rtol=1e-5, atol=1e-5)


def test_the_reference_answers_as_onnx_runtime_does_by_itself(gateway: Gateway) -> None:
    import onnxruntime

    pictures = images()[0][:8]
    session = onnxruntime.InferenceSession(REPOSITORY / "digits/1/cpu-fp32/model.onnx")
    (bare,) = session.run(None, {session.get_inputs()[0].name: pictures})
    answer = ask(gateway, pictures, variant="cpu-fp32")
    name = answer.get_response()["outputs"][0]["name"]
    np.testing.assert_allclose(answer.as_numpy(name), bare, rtol=1e-4, atol=1e-4)


def test_a_model_we_did_not_make_is_served(gateway: Gateway) -> None:
    with triton_http.InferenceServerClient(gateway.http) as client:
        tensor = triton_http.InferInput("float_input", [3, 2], "FP32")
        tensor.set_data_from_numpy(np.array([[0, 0], [1, 1], [2, 2]], np.float32))
        answer = client.infer("iris", [tensor])
        labels, odds = answer.as_numpy("label"), answer.as_numpy("probabilities")
    assert labels.shape == (3,)
    np.testing.assert_allclose(odds.sum(1), 1, atol=1e-5)
    assert (odds.argmax(1) == labels).all()


def test_what_was_served_is_on_the_metrics_page(gateway: Gateway) -> None:
    ask(gateway, images()[0][:1])
    with urllib.request.urlopen(f"http://{gateway.metrics}/metrics") as page:
        text = page.read().decode()
    spent = re.findall(r'farebox_cost_usd_total\{basis="usage",model="digits".*\} (\S+)', text)
    assert spent and all(float(usd) > 0 for usd in spent)


@pytest.mark.usefixtures("table")
def test_compiling_again_does_nothing_and_needs_no_heavy_library() -> None:
    script = (
        "import sys; from model_repo.cli import main; "
        f"code = main(['compile', 'digits', '--repository', {str(REPOSITORY)!r}]); "
        "print(code, sorted({'torch', 'sklearn', 'onnx', 'scipy'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"
