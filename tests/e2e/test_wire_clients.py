"""tritonclient as it is, over HTTP and over gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from gateway_process import Gateway
from tritonclient.utils import InferenceServerException

STATUS = {
    "http": {"bad": "400", "unknown": "404", "never": "422", "late": "504"},
    "grpc": {
        "bad": "StatusCode.INVALID_ARGUMENT", "unknown": "StatusCode.NOT_FOUND",
        "never": "StatusCode.FAILED_PRECONDITION", "late": "StatusCode.DEADLINE_EXCEEDED",
    },
}  # fmt: skip


class Client:
    """One of the two clients, with the names they share."""

    def __init__(self, kind: str, port: int) -> None:
        self.kind = kind
        self.module: Any = tritonclient.http if kind == "http" else tritonclient.grpc
        self.raw = self.module.InferenceServerClient(f"127.0.0.1:{port}")

    def infer(self, model: str = "linear", rows: int = 2, name: str = "x", **more: Any) -> Any:
        given = self.module.InferInput(name, [rows, 4], "FP32")
        given.set_data_from_numpy(np.ones((rows, 4), np.float32))
        return self.raw.infer(model, [given], **more)

    def document(self, answer: Any) -> dict[str, Any]:
        """The answer's parameters."""
        if self.kind == "http":
            return dict(answer.get_response()["parameters"])
        message = answer.get_response().parameters
        return {n: getattr(p, p.WhichOneof("parameter_choice")) for n, p in message.items()}


@pytest.fixture(params=["http", "grpc"])
def client(request: pytest.FixtureRequest, up: Gateway) -> Iterator[Client]:
    made = Client(request.param, up.http if request.param == "http" else up.grpc)
    yield made
    made.raw.close()


def test_health(client: Client) -> None:
    raw = client.raw
    assert raw.is_server_live() and raw.is_server_ready()
    assert raw.is_model_ready("toy") and raw.is_model_ready("toy", "1")
    assert not raw.is_model_ready("none")


def test_metadata_and_configuration(client: Client) -> None:
    as_json = {} if client.kind == "http" else {"as_json": True}
    server = client.raw.get_server_metadata(**as_json)
    assert server["name"] == "farebox" and "cost_routing" in server["extensions"]
    model = client.raw.get_model_metadata("linear", **as_json)
    assert [int(n) for n in model["inputs"][0]["shape"]] == [-1, 4]
    config = client.raw.get_model_config("linear", **as_json)
    config = config.get("config", config)
    assert [int(n) for n in config["input"][0]["dims"]] == [4] and config["max_batch_size"] > 1


def test_an_inference(client: Client) -> None:
    answer = client.infer(request_id="7")
    scores = answer.as_numpy("y")
    assert scores.shape == (2, 3) and scores.dtype == np.float32
    assert scores.sum(axis=1) == pytest.approx(1)
    facts = client.document(answer)
    assert facts["variant"] == "cpu-ref" or facts["variant"]
    assert facts["cost_usd"] > 0 and facts["slo_met"] is True


@pytest.mark.parametrize(
    ("parameters", "variant", "fill"),
    [
        ({}, "low", 1.0),
        ({"slo_min_accuracy": 0.9}, "mid", 2.0),
        ({"slo_min_accuracy": "0.95"}, "ref", 3.0),
        ({"variant": "ref"}, "ref", 3.0),
        ({"slo_latency_ms": 60_000}, "low", 1.0),
    ],
)
def test_an_slo_goes_in_as_parameters(
    client: Client, parameters: dict[str, Any], variant: str, fill: float
) -> None:
    answer = client.infer("toy", parameters=parameters)
    assert client.document(answer)["variant"] == variant
    assert (answer.as_numpy("y") == fill).all()


def test_an_slo_goes_in_as_headers(client: Client) -> None:
    answer = client.infer("toy", headers={"x-slo-min-accuracy": "0.9", "x-variant": ""})
    assert client.document(answer)["variant"] == "mid"


@pytest.mark.parametrize(
    ("asked", "kind", "sentence"),
    [
        ({"model": "none"}, "unknown", "Request for unknown model"),
        ({"model": "toy", "model_version": "9"}, "unknown", "available versions are 1"),
        ({"name": "z"}, "bad", "input 'x' is missing"),
        ({"parameters": {"slo_min_accuracy": 2.0}}, "bad", "from 0 to 1"),
        ({"model": "toy", "parameters": {"slo_min_accuracy": 0.99}}, "never", "accuracy"),
        ({"model": "slow", "rows": 1, "timeout": 2000, "parameters": {"variant": "ref"}},
         "late", "deadline"),
    ],
)  # fmt: skip
def test_errors(client: Client, asked: dict[str, Any], kind: str, sentence: str) -> None:
    with pytest.raises(InferenceServerException, match=sentence) as caught:
        client.infer(**asked)
    assert caught.value.status() == STATUS[client.kind][kind]


def test_many_calls_at_once(client: Client) -> None:
    if client.kind == "grpc":
        given = tritonclient.grpc.InferInput("x", [1, 4], "FP32")
        given.set_data_from_numpy(np.ones((1, 4), np.float32))
        channel = client.raw
        import queue

        seen: queue.Queue[Any] = queue.Queue()
        for _ in range(50):
            channel.async_infer("toy", [given], lambda result, error: seen.put((result, error)))
        results = [seen.get(timeout=60) for _ in range(50)]
        assert all(
            error is None and result.as_numpy("y").shape == (1, 2) for result, error in results
        )
    else:
        assert all(client.infer("toy").as_numpy("y").shape == (2, 2) for _ in range(50))


def test_the_grpc_deadline_is_heeded(up: Gateway) -> None:
    client = Client("grpc", up.grpc)
    with pytest.raises(InferenceServerException) as caught:
        client.infer("slow", rows=1, client_timeout=0.05, parameters={"variant": "ref"})
    assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"
    client.raw.close()
