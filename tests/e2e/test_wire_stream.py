"""Streams and the rest of Triton's wire: ModelStreamInfer, generate, compression, raw requests."""

from __future__ import annotations

import gzip
import http.client
import json
import queue
import time
import zlib
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from gateway_process import PATIENCE_S, Gateway, toy
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

INFER = "/v2/models/toy/infer"
LARGE = 400
"""Rows whose answer is worth compressing."""


def given(kind: Any, rows: int = 1) -> Any:
    made = kind.InferInput("x", [rows, 4], "FP32")
    made.set_data_from_numpy(np.ones((rows, 4), np.float32))
    return made


@pytest.fixture
def stream(up: Gateway) -> Iterator[tuple[Any, queue.Queue[Any]]]:
    """A client with an open stream, and what comes back on it."""
    client = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{up.grpc}")
    seen: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: seen.put((result, error)))
    yield client, seen
    client.stop_stream()
    client.close()


def test_a_stream_answers_in_order(stream: tuple[Any, queue.Queue[Any]]) -> None:
    client, seen = stream
    rows = [1, 5, 2, 8, 3] * 20
    for place, count in enumerate(rows):
        client.async_stream_infer("toy", [given(tritonclient.grpc, count)], request_id=str(place))
    for place, count in enumerate(rows):
        result, error = seen.get(timeout=PATIENCE_S)
        assert error is None and result.get_response().id == str(place)
        assert result.as_numpy("y").shape == (count, 2)


def test_an_error_leaves_the_stream_open(stream: tuple[Any, queue.Queue[Any]]) -> None:
    client, seen = stream
    client.async_stream_infer("none", [given(tritonclient.grpc)], request_id="bad")
    client.async_stream_infer("toy", [given(tritonclient.grpc)], request_id="good")
    result, error = seen.get(timeout=PATIENCE_S)
    assert "Request for unknown model: 'none'" in error.message()
    result, error = seen.get(timeout=PATIENCE_S)
    assert error is None and result.get_response().id == "good"


def test_an_error_on_a_stream_carries_its_requests_id(up: Gateway) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{up.grpc}") as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        asked = [pb.ModelInferRequest(model_name="none", id="7")]
        (answer,) = stub.ModelStreamInfer(iter(asked), timeout=60)
    assert answer.infer_response.id == "7" and "unknown model" in answer.error_message


@pytest.mark.parametrize("asks", [True, False])
def test_the_last_answer_is_marked_if_asked_for(
    stream: tuple[Any, queue.Queue[Any]], asks: bool
) -> None:
    client, seen = stream
    client.async_stream_infer("toy", [given(tritonclient.grpc)], enable_empty_final_response=asks)
    result, error = seen.get(timeout=PATIENCE_S)
    assert error is None
    assert ("triton_final_response" in result.get_response().parameters) is asks


def test_a_stream_that_is_cancelled_is_abandoned(up: Gateway) -> None:
    message = pb.ModelInferRequest(model_name="slow")
    message.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    message.raw_input_contents.append(b"\0" * 16)
    with grpc.insecure_channel(f"127.0.0.1:{up.grpc}") as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        call = stub.ModelStreamInfer(iter([message] * 20), timeout=60)
        time.sleep(0.3)
        call.cancel()
    start = time.monotonic()
    assert up.infer("slow", toy())[0] == 200  # ten seconds of work would be before it otherwise
    assert time.monotonic() - start < 5


def ask(up: Gateway, body: bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
    return up.ask("POST", INFER, body, **headers)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_tritonclient_compresses_both_ways(up: Gateway, encoding: str) -> None:
    client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{up.http}")
    for is_binary in (True, False):
        wanted = tritonclient.http.InferRequestedOutput("y", binary_data=is_binary)
        answer = client.infer(
            "toy",
            [given(tritonclient.http, LARGE)],
            outputs=[wanted],
            request_compression_algorithm=encoding,
            response_compression_algorithm=encoding,
        )
        assert answer.as_numpy("y").shape == (LARGE, 2)
    client.close()


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_grpc_messages_may_be_compressed(up: Gateway, encoding: str) -> None:
    client = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{up.grpc}")
    answer = client.infer("toy", [given(tritonclient.grpc, LARGE)], compression_algorithm=encoding)
    assert answer.as_numpy("y").shape == (LARGE, 2)
    client.close()


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"), ("deflate", "deflate"), ("gzip;q=0.5, deflate;q=0.9", "deflate"),
        ("*", "gzip"), ("br", None), ("identity", None), ("gzip;q=0", None), ("", None),
        ("gzip;q=0.2, identity;q=0.8", None), ("*;q=0", None), ("gzip, *;q=0", "gzip"),
        ("GZIP", "gzip"), ("gzip;q=much", None),
    ],
)  # fmt: skip
def test_an_answer_is_encoded_as_its_client_weighs(
    up: Gateway, accepted: str, encoding: str | None
) -> None:
    body = json.dumps(toy(LARGE)).encode()
    status, headers, answer = ask(up, body, Accept_Encoding=accepted)
    assert status == 200 and headers.get("content-encoding") == encoding
    assert headers["vary"] == "accept-encoding"
    plain = {"gzip": gzip.decompress, "deflate": zlib.decompress, None: bytes}[encoding](answer)
    assert json.loads(plain)["outputs"][0]["shape"] == [LARGE, 2]


def test_a_compressed_body_counts_its_json_uncompressed(up: Gateway) -> None:
    text = json.dumps(
        {
            "inputs": [
                {
                    "name": "x",
                    "shape": [1, 4],
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": 16},
                }
            ]
        }
    ).encode()
    body = gzip.compress(text + np.ones(4, np.float32).tobytes())
    status, _, answer = ask(
        up, body, Content_Encoding="gzip", Inference_Header_Content_Length=str(len(text))
    )
    assert status == 200, answer


BODY = json.dumps(toy()).encode()


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"nonsense", "is not a gzip stream"),
        (b"", "is not a gzip stream: it is empty"),
        (gzip.compress(BODY)[:-9], "its end is missing"),
        (gzip.compress(BODY) + b"more", "is not a gzip stream"),
        (gzip.compress(b" " * 3_000_000), "max_body_bytes"),
        (zlib.compress(BODY), "is not a gzip stream"),
    ],
)
def test_a_body_that_is_no_such_stream_is_refused(up: Gateway, body: bytes, sentence: str) -> None:
    status, _, answer = ask(up, body, Content_Encoding="gzip")
    assert status == 400 and sentence in json.loads(answer)["error"]


def test_a_gzip_body_may_have_several_members(up: Gateway) -> None:
    status, _, _ = ask(
        up, gzip.compress(BODY[:9]) + gzip.compress(BODY[9:]), Content_Encoding="gzip"
    )
    assert status == 200


def test_a_body_may_be_a_tensor_and_nothing_else(up: Gateway) -> None:
    raw = np.ones(4, np.float32).tobytes()
    status, headers, answer = ask(
        up, raw, Inference_Header_Content_Length="0", x_slo_min_accuracy="0.9"
    )
    length = int(headers["inference-header-content-length"])
    document = json.loads(answer[:length])
    assert status == 200 and document["parameters"]["variant"] == "mid"
    assert document["outputs"][0]["shape"] == [1, 2]
    assert np.frombuffer(answer[length:], np.float32).tolist() == [2.0, 2.0]
    status, _, answer = up.ask(
        "POST", "/v2/models/echo/infer", raw, Inference_Header_Content_Length="0"
    )
    assert status == 400 and "can be one input only" in json.loads(answer)["error"]


def generate(up: Gateway, body: object, kind: str = "generate", model: str = "toy") -> Any:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return up.ask("POST", f"/v2/models/{model}/{kind}", text)


def test_generate_takes_and_gives_plain_json(up: Gateway) -> None:
    status, headers, answer = generate(up, {"x": [1, 2, 3, 4], "slo_min_accuracy": 0.9, "id": "g"})
    document = json.loads(answer)
    assert status == 200 and headers["content-type"] == "application/json"
    assert document["y"] == [2.0, 2.0] and document["parameters"]["variant"] == "mid"
    assert (document["model_name"], document["model_version"], document["id"]) == ("toy", "1", "g")


def test_generate_stream_sends_an_event(up: Gateway) -> None:
    status, headers, answer = generate(up, {"x": [1, 2, 3, 4]}, "generate_stream")
    assert status == 200 and headers["content-type"].startswith("text/event-stream")
    assert answer.startswith(b"data: {") and answer.endswith(b"}\n\n")
    assert json.loads(answer[6:])["y"] == [1.0, 1.0]


@pytest.mark.parametrize("kind", ["generate", "generate_stream"])
@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"{", 400, "not valid JSON"),
        ([], 400, "not a JSON object"),
        ({}, 400, "input 'x' is missing"),
        ({"x": [1, 2]}, 400, "'x'"),
        ({"x": "text"}, 400, "'x' is FP32"),
        ({"x": [1, 2, 3, 4], "z": [1]}, 400, "'z' is no input of model 'toy'"),
        ({"x": [1, 2, 3, 4], "slo_min_accuracy": 0.99}, 422, "accuracy"),
    ],
)
def test_what_generate_cannot_read_is_refused(
    up: Gateway, kind: str, body: object, status: int, sentence: str
) -> None:
    seen, headers, answer = generate(up, body, kind)
    assert seen == status and headers["content-type"] == "application/json"
    assert sentence in json.loads(answer)["error"]


def test_a_head_of_any_page_has_no_body(up: Gateway) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", up.http, timeout=PATIENCE_S)
    for path in ("/v2", "/v2/models/toy/stats", "/v2/logging", "/v2/systemsharedmemory/status"):
        connection.request("HEAD", path)
        answer = connection.getresponse()
        assert answer.status == 200 and answer.read() == b""
    connection.close()
