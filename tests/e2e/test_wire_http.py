"""HTTP as it arrives from anyone: wrong verbs, wrong paths, broken bodies, clients that leave."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from gateway_process import PATIENCE_S, Gateway, toy
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

JSON = "application/json"
INFER = "/v2/models/toy/infer"


def sent(up: Gateway, *parts: bytes, reads: bool = True) -> bytes:
    """What comes back on a connection of its own until the gateway closes it."""
    with socket.create_connection(("127.0.0.1", up.http), PATIENCE_S) as wire:
        for part in parts:
            wire.sendall(part)
        answer = b""
        while reads and (chunk := wire.recv(65536)):
            answer += chunk
        return answer


def post(body: bytes, *headers: str, close: bool = True) -> bytes:
    lines = [f"POST {INFER} HTTP/1.1", "Host: x", *headers]
    if close:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode() + body


BODY = json.dumps(toy()).encode()
WHOLE = post(BODY, f"Content-Length: {len(BODY)}")


def test_what_is_there(up: Gateway) -> None:
    for path, wanted in {
        "/v2/health/live": {"live": True},
        "/v2/health/ready": {"ready": True},
        "/v2/models/toy/ready": {"name": "toy", "ready": True},
        "/v2/models/toy/versions/1/ready": {"name": "toy", "ready": True},
    }.items():
        status, headers, body = up.ask("GET", path)
        assert (status, headers["content-type"], json.loads(body)) == (200, JSON, wanted)
        assert up.ask("HEAD", path)[0] == 200
    for path in ("/v2", "/v2/models/toy", "/v2/models/toy/versions/1", "/v2/models/toy/config"):
        assert json.loads(up.ask("GET", path)[2])["name"]


@pytest.mark.parametrize(
    "path", ["/", "/v3", "/v2/models", "/v2/models/toy/nothing", "/v2/models//infer"]
)
def test_an_unknown_path_is_not_found(up: Gateway, path: str) -> None:
    for method in ("GET", "POST"):
        status, headers, body = up.ask(method, path)
        assert (status, headers["content-type"]) == (404, JSON)
        assert json.loads(body) == {"error": "Not Found"}


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_a_wrong_verb_is_not_allowed(up: Gateway, method: str) -> None:
    status, headers, body = up.ask(method, INFER)
    assert (status, headers["content-type"]) == (405, JSON)
    assert json.loads(body) == {"error": "Method Not Allowed"}
    assert up.ask("POST", "/v2/health/live")[0] == 405


@pytest.mark.parametrize(
    "path", ["/v2/models/none", "/v2/models/none/config", "/v2/models/none/ready"]
)
def test_an_unknown_model_is_named(up: Gateway, path: str) -> None:
    status, _, body = up.ask("GET", path)
    assert status == 404
    assert json.loads(body)["error"].startswith("Request for unknown model: 'none'")


def test_a_name_is_unquoted(up: Gateway) -> None:
    assert up.ask("GET", "/v2/models/t%6Fy/ready")[0] == 200
    assert "'a b'" in json.loads(up.ask("GET", "/v2/models/a%20b")[2])["error"]


BROKEN: dict[str, tuple[bytes, dict[str, str]]] = {
    "nothing": (b"", {}),
    "no json": (b"not json", {}),
    "half": (b'{"inputs":[', {}),
    "a list": (b"[]", {}),
    "no inputs": (b"{}", {}),
    "deep": (b"[" * 200_000, {}),
    "no text": (b"\xff\xfe\x00", {}),
    "long header": (b"{}", {"Inference_Header_Content_Length": "9" * 5000}),
    "header past the end": (b"{}", {"Inference_Header_Content_Length": "3"}),
    "negative header": (b"{}", {"Inference_Header_Content_Length": "-1"}),
    "header no number": (b"{}", {"Inference_Header_Content_Length": "two"}),
    "no whole tensor": (b"\0" * 15, {"Inference_Header_Content_Length": "0"}),
    "left over": (json.dumps(toy()).encode() + b"\0", {"Inference_Header_Content_Length":
                  str(len(json.dumps(toy())))}),
    "absurd slo": (json.dumps(toy()).encode(), {"x_slo_latency_ms": "nan"}),
    "rank 70": (b'{"inputs":[{"name":"x","shape":[%s],"datatype":"FP32","data":[1]}]}'
                % b",".join([b"1"] * 70), {}),
    "400 digits": (b'{"parameters":{"timeout":1%s},"inputs":[]}' % (b"0" * 400), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_body_is_a_bad_request_with_a_sentence(up: Gateway, name: str) -> None:
    body, headers = BROKEN[name]
    status, known, answer = up.ask("POST", INFER, body, **headers)
    assert (status, known["content-type"]) == (400, JSON), answer
    assert len(json.loads(answer)["error"]) > 10


def test_content_type_means_nothing(up: Gateway) -> None:
    form = "application/x-www-form-urlencoded"
    status, _, _ = up.ask("POST", INFER, json.dumps(toy()).encode(), Content_Type=form)
    assert status == 200


def test_a_body_too_large_is_refused_naming_the_setting(up: Gateway) -> None:
    for size in (2_000_001, 9_000_000):
        status, _, answer = up.ask("POST", INFER, b" " * size)
        assert status == 400 and "max_body_bytes" in json.loads(answer)["error"]


def test_a_grpc_message_too_large_is_refused(up: Gateway) -> None:
    message = pb.ModelInferRequest(model_name="toy", raw_input_contents=[b"\0" * 3_000_000])
    with (
        grpc.insecure_channel(f"127.0.0.1:{up.grpc}") as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(message, timeout=60)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]


def test_an_unknown_encoding_is_not_implemented(up: Gateway) -> None:
    status, headers, answer = up.ask("POST", INFER, b"{}", Content_Encoding="br")
    assert status == 501 and "br" in json.loads(answer)["error"]
    assert headers["accept-encoding"] == "gzip, deflate"


def test_a_very_long_name_still_gets_its_answer_over_grpc(up: Gateway) -> None:
    message = pb.ModelInferRequest(model_name="n" * 100_000)
    with (
        grpc.insecure_channel(f"127.0.0.1:{up.grpc}") as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(message, timeout=60)
    error: Any = caught.value
    assert error.code() == grpc.StatusCode.NOT_FOUND
    assert error.details().startswith("Request for unknown model: 'nnn")


def test_chunks_are_put_together(up: Gateway) -> None:
    body = json.dumps(toy()).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (body[:7], body[7:])) + b"0\r\n\r\n"
    answer = sent(up, post(chunks, "Transfer-Encoding: chunked"))
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "wire",
    [b"nonsense\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n", b"\0" * 100],
)
def test_what_is_no_http_is_refused_and_the_connection_closed(up: Gateway, wire: bytes) -> None:
    assert b" 400 " in sent(up, wire).split(b"\r\n")[0]


@pytest.mark.parametrize(
    "leave",
    [
        lambda up: sent(up, b"POST ", reads=False),
        lambda up: sent(up, post(b"{", "Content-Length: 100"), reads=False),
        lambda up: sent(up, post(json.dumps(toy()).encode(), "Content-Length: 1000"), reads=False),
        lambda up: sent(up, WHOLE, reads=False),
    ],
    ids=["in a line", "in a body", "before the end", "before the answer"],
)  # fmt: skip
def test_a_client_that_leaves_harms_nobody(up: Gateway, leave: Callable[[Gateway], bytes]) -> None:
    for _ in range(5):
        leave(up)
    assert up.is_well()


def test_a_client_that_leaves_the_queue_is_not_served(up: Gateway) -> None:
    def cancelled() -> float:
        page = up.ask("GET", "/metrics")[2].decode()
        families = {f.name: f for f in text_string_to_metric_families(page)}
        counted = families["farebox_requests"].samples
        return sum(s.value for s in counted if s.labels["outcome"] == "cancelled")

    before = cancelled()
    slow = WHOLE.replace(b"/toy/", b"/slow/")
    address = ("127.0.0.1", up.http)
    wires = [socket.create_connection(address, PATIENCE_S) for _ in range(4)]
    for wire in wires:
        wire.sendall(slow)
    for wire in wires[2:]:  # two run, half a second each, on the two devices; two wait
        wire.close()
    for wire in wires[:2]:
        assert wire.recv(12) == b"HTTP/1.1 200"
        wire.close()
    while cancelled() < before + 1:
        pass
    assert up.is_well()


def test_requests_follow_each_other_on_one_connection(up: Gateway) -> None:
    good, bad = json.dumps(toy()).encode(), b"{"
    wire = b"".join(
        post(body, f"Content-Length: {len(body)}", close=i == 3)
        for i, body in enumerate([good, bad, good, good])
    )
    answer = sent(up, wire)
    assert [answer.count(b"HTTP/1.1 200"), answer.count(b"HTTP/1.1 400")] == [3, 1]


@pytest.mark.parametrize("where", ["http", "metrics"])
def test_the_metrics_page_can_be_read(up: Gateway, where: str) -> None:
    assert up.is_well()
    status, headers, page = up.ask("GET", "/metrics", port=getattr(up, where))
    assert status == 200 and headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {f.name: f for f in text_string_to_metric_families(page.decode())}
    assert len(families) >= 14 and all(name.startswith("farebox_") for name in families)
    served = [s.value for s in families["farebox_requests"].samples if s.labels["outcome"] == "ok"]
    assert sum(served) >= 1


def test_log_lines_carry_who_asked(up: Gateway) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    document = toy() | {"id": "order-7"}
    up.infer("toy", document, traceparent=trace)
    line = up.wait_for("", request_id="order-7")
    assert line["traceparent"] == trace and line["protocol"] == "http" and line["variant"] == "low"
    assert line["message"] == "served" and line["cost_usd"] > 0 and line["took_ms"] > 0
    status, headers, _ = up.ask(
        "POST", INFER, json.dumps(toy()).encode(), x_request_id="edge-8", traceparent=trace
    )
    assert (status, headers["x-request-id"]) == (200, "edge-8")
    assert up.wait_for("", request_id="edge-8")["message"] == "served"
    up.ask("POST", INFER, b"{", x_request_id="edge-9", traceparent=trace)
    failed = up.wait_for("", request_id="edge-9")
    assert failed["message"].startswith("failed: the request is not valid JSON")
    assert (failed["code"], failed["traceparent"]) == ("invalid_argument", trace)


def test_a_failed_request_is_logged_with_its_id_whatever_the_protocol(up: Gateway) -> None:
    up.infer("toy", toy(slo_min_accuracy=0.99) | {"id": "h-1"})
    assert up.wait_for("", request_id="h-1")["code"] == "failed_precondition"
    message = pb.ModelInferRequest(model_name="none", id="g-1")
    with grpc.insecure_channel(f"127.0.0.1:{up.grpc}") as channel, pytest.raises(grpc.RpcError):
        service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(
            message, timeout=60, metadata=[("traceparent", "t")]
        )
    line = up.wait_for("", request_id="g-1")
    assert (line["code"], line["traceparent"], line["protocol"]) == ("not_found", "t", "grpc")
