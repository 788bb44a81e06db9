"""What clients ask besides answers: repository, statistics, shared memory, logging, tracing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
import tritonclient.utils.shared_memory as shm
from gateway_process import Gateway, gateway, toy
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from tritonclient.utils import InferenceServerException

KINDS: dict[str, Any] = {"http": tritonclient.http, "grpc": tritonclient.grpc}


@pytest.fixture(scope="module")
def own(shelf: Path, book: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose settings and models these tests change."""
    folder = tmp_path_factory.mktemp("control")
    config = folder / "config.yaml"
    config.write_text(f"{{cores: 2, trace_file: {folder / 'traces.jsonl'}}}")
    with gateway("--repository", shelf, "--prices", book, "--config", config) as running:
        yield running


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, own: Gateway) -> Iterator[Any]:
    kind = request.param
    made = KINDS[kind].InferenceServerClient(f"127.0.0.1:{getattr(own, kind)}")
    made.kind, made.module = kind, KINDS[kind]
    made.words = {} if kind == "http" else {"as_json": True}
    yield made
    made.close()


def ones(client: Any, rows: int = 2) -> Any:
    given = client.module.InferInput("x", [rows, 4], "FP32")
    given.set_data_from_numpy(np.ones((rows, 4), np.float32))
    return given


def listed(client: Any) -> dict[str, dict[str, str]]:
    index = client.get_model_repository_index(**client.words)
    return {each["name"]: each for each in (index if client.kind == "http" else index["models"])}


def test_a_model_is_unloaded_and_loaded_again(client: Any) -> None:
    assert listed(client)["linear"]["state"] == "READY"
    client.unload_model("linear")
    assert not client.is_model_ready("linear") and client.is_model_ready("toy")
    gone = listed(client)["linear"]
    assert (gone["state"], gone["reason"]) == ("UNAVAILABLE", "unloaded")
    with pytest.raises(InferenceServerException, match="Request for unknown model"):
        client.infer("linear", [ones(client)])
    client.load_model("linear")
    assert client.is_model_ready("linear") and listed(client)["linear"]["state"] == "READY"
    assert client.infer("linear", [ones(client)]).as_numpy("y").shape == (2, 3)


def test_what_is_not_there_cannot_be_loaded(client: Any) -> None:
    with pytest.raises(InferenceServerException, match="failed to load 'none'"):
        client.load_model("none")
    with pytest.raises(InferenceServerException, match="config cannot be given"):
        client.load_model("toy", config='{"max_batch_size": 2}')
    client.unload_model("none")


def test_a_server_without_models_waits_for_the_next(client: Any) -> None:
    names = list(listed(client))
    for name in names:
        client.unload_model(name)
    assert client.is_server_ready() and not client.is_model_ready("toy")
    for name in names:
        client.load_model(name)
    assert {each["state"] for each in listed(client).values()} == {"READY"}


def test_no_request_is_dropped_while_models_come_and_go(own: Gateway) -> None:
    wrong: list[str] = []
    is_over = threading.Event()

    def ask() -> None:
        client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{own.http}")
        client.module = tritonclient.http
        while not is_over.is_set():
            try:
                client.infer("toy", [ones(client)])
            except Exception as error:  # whatever it is, it is a request that was dropped
                wrong.append(repr(error))
        client.close()

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    control = tritonclient.http.InferenceServerClient(f"127.0.0.1:{own.http}")
    for _ in range(5):
        control.unload_model("echo")
        control.load_model("echo")
        control.load_model("toy")
    is_over.set()
    for thread in threads:
        thread.join()
    control.close()
    assert not wrong


def test_statistics_count_what_was_done(client: Any) -> None:
    def counted() -> dict[str, Any]:
        (found,) = client.get_inference_statistics("linear", **client.words)["model_stats"]
        return dict(found)

    def number(found: dict[str, Any], part: str) -> int:
        return int(found.get("inference_stats", {}).get(part, {}).get("count", 0))

    before = counted()
    for _ in range(3):
        client.infer("linear", [ones(client, 4)])
    with pytest.raises(InferenceServerException):
        client.infer("linear", [])
    after = counted()
    assert number(after, "success") - number(before, "success") == 3
    assert number(after, "fail") - number(before, "fail") == 1
    assert int(after["inference_count"]) - int(before.get("inference_count", 0)) == 12
    assert int(after["execution_count"]) - int(before.get("execution_count", 0)) == 3
    took = after["inference_stats"]
    assert int(took["success"]["ns"]) > int(took["compute_infer"]["ns"]) > 0
    assert "4" in {str(each["batch_size"]) for each in after["batch_stats"]}
    assert int(after["last_inference"]) > 1.7e12
    every = client.get_inference_statistics(**client.words)["model_stats"]
    assert {"toy", "slow", "linear"} <= {each["name"] for each in every}
    pinned = client.get_inference_statistics("toy", headers={"x-variant": "mid"}, **client.words)
    assert pinned["model_stats"][0]["name"] == "toy"
    with pytest.raises(InferenceServerException, match="no variant 'none'"):
        client.get_inference_statistics("toy", headers={"x-variant": "none"})


def test_statistics_over_http_tell_the_variants_apart(own: Gateway) -> None:
    own.infer("toy", toy(variant="mid"))
    (found,) = json.loads(own.ask("GET", "/v2/models/toy/stats")[2])["model_stats"]
    assert set(found["variants"]) == {"ref", "mid", "low"}
    assert found["variants"]["mid"]["inference_count"] >= 1


@pytest.mark.parametrize("reads", [True, False])
def test_tensors_travel_in_shared_memory(client: Any, reads: bool) -> None:
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    inputs = shm.create_shared_memory_region("in", "/farebox_test_in", x.nbytes)
    outputs = shm.create_shared_memory_region("out", "/farebox_test_out", 100)
    try:
        shm.set_shared_memory_region(inputs, [x])
        client.register_system_shared_memory("in", "/farebox_test_in", x.nbytes)
        client.register_system_shared_memory("out", "/farebox_test_out", 96, offset=4)
        status = client.get_system_shared_memory_status(**client.words)
        known = status if client.kind == "http" else status["regions"].values()
        assert {each["name"] for each in known} == {"in", "out"}
        given = client.module.InferInput("x", [2, 4], "FP32")
        given.set_shared_memory("in", x.nbytes)
        wanted = client.module.InferRequestedOutput("y")
        if reads:
            wanted.set_shared_memory("out", 64, offset=8)
        answer = client.infer("linear", [given], outputs=[wanted])
        plain = client.module.InferInput("x", [2, 4], "FP32")
        plain.set_data_from_numpy(x)
        truth = client.infer("linear", [plain]).as_numpy("y")
        if reads:
            output = answer.get_output("y")
            assert list(output.shape if client.kind == "grpc" else output["shape"]) == [2, 3]
            seen = shm.get_contents_as_numpy(outputs, np.float32, [25])
            assert seen[3:9].reshape(2, 3).tobytes() == truth.tobytes()
            assert (seen[:3] == 0).all() and (seen[9:] == 0).all()
        else:
            assert answer.as_numpy("y").tobytes() == truth.tobytes()
        with pytest.raises(InferenceServerException, match="registered already"):
            client.register_system_shared_memory("in", "/farebox_test_in", x.nbytes)
        wanted.set_shared_memory("out", 20)
        with pytest.raises(InferenceServerException, match="takes 24 bytes"):
            client.infer("linear", [given], outputs=[wanted])
        given.set_shared_memory("in", 64)
        with pytest.raises(InferenceServerException, match="bytes 0 to 64 are not in"):
            client.infer("linear", [given])
        client.unregister_system_shared_memory("in")
        given.set_shared_memory("in", x.nbytes)
        with pytest.raises(InferenceServerException, match="'in' is not registered"):
            client.infer("linear", [given])
    finally:
        client.unregister_system_shared_memory()
        shm.destroy_shared_memory_region(inputs)
        shm.destroy_shared_memory_region(outputs)


@pytest.mark.parametrize("key", ["/none", "../etc/passwd", "", "/"])
def test_a_region_that_is_none_is_refused(client: Any, key: str) -> None:
    with pytest.raises(InferenceServerException, match="key"):
        client.register_system_shared_memory("bad", key, 8)


def test_cuda_regions_are_not_offered(client: Any) -> None:
    assert client.get_cuda_shared_memory_status(**client.words) in ([], {})
    with pytest.raises(InferenceServerException, match="CUDA shared memory is not offered"):
        client.get_cuda_shared_memory_status("r")


def test_classes_are_told_with_their_labels(client: Any) -> None:
    wanted = client.module.InferRequestedOutput("y", class_count=2)
    answer = client.infer("linear", [ones(client)], outputs=[wanted]).as_numpy("y")
    scores = client.infer("linear", [ones(client)]).as_numpy("y")
    assert answer.shape == (2, 2)
    best = int(scores[0].argmax())
    assert answer[0, 0] == f"{scores[0, best]:f}:{best}".encode()


def test_log_settings_change_what_is_logged(client: Any, own: Gateway) -> None:
    before = client.get_log_settings(**client.words)
    changed = client.update_log_settings({"log_verbose_level": 1}, **client.words)
    assert str(before) != str(changed)
    client.update_log_settings({"log_verbose_level": 0})
    assert str(client.get_log_settings(**client.words)) == str(before)
    for name, value, sentence in (
        ("log_file", "/tmp/x", "cannot be changed"), ("log_format", "ISO8601", "cannot be changed"),
    ):  # fmt: skip
        with pytest.raises(InferenceServerException, match=sentence):
            client.update_log_settings({name: value})


def test_requests_are_traced_where_the_operator_says(client: Any, own: Gateway) -> None:
    path = (
        Path(client.get_trace_settings(**client.words)["trace_file"])
        if (client.kind == "http")
        else Path(client.get_trace_settings(**client.words)["settings"]["trace_file"]["value"][0])
    )
    before = len(path.read_text().splitlines()) if path.exists() else 0
    client.update_trace_settings(
        "linear", {"trace_level": ["TIMESTAMPS"], "trace_rate": "2", "trace_count": "2"}
    )
    for place in range(8):
        client.infer("linear", [ones(client)], request_id=f"r{place}")
    client.update_trace_settings("linear", {"trace_level": ["OFF"]})
    client.infer("linear", [ones(client)])
    lines = [json.loads(line) for line in path.read_text().splitlines()[before:]]
    assert [line["request_id"] for line in lines] == ["r1", "r3"]
    for line in lines:
        stamps = [each["ns"] for each in line["timestamps"]]
        assert stamps == sorted(stamps) and line["model_name"] == "linear"
    for name, value in (("trace_file", "/tmp/x"), ("trace_level", ["TENSORS"]), ("what", "1")):
        with pytest.raises(InferenceServerException):
            client.update_trace_settings("linear", {name: value})


def test_health_and_reflection_over_grpc(own: Gateway) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{own.grpc}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "inference.GRPCInferenceService"):
            asked = health_pb2.HealthCheckRequest(service=service)
            assert stub.Check(asked, timeout=60).status == health_pb2.HealthCheckResponse.SERVING
            watch = stub.Watch(asked, timeout=60)
            assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
            watch.cancel()
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(health_pb2.HealthCheckRequest(service="none"), timeout=60)
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND  # type: ignore[attr-defined]
        database = ProtoReflectionDescriptorDatabase(channel)
        assert "inference.GRPCInferenceService" in database.get_services()
        file = database.FindFileContainingSymbol("inference.GRPCInferenceService")
        (service,) = [s for s in file.service if s.name == "GRPCInferenceService"]
        assert len(service.method) == 20
