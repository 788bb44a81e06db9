"""What is no HTTP, or too much of it, is refused in JSON, and the next request is served."""

from __future__ import annotations

import json
import socket

import pytest
from gateway_process import PATIENCE_S, Gateway

from gateway.http_protocol import HEAD_BYTES


def send(up: Gateway, *parts: bytes) -> tuple[int, dict[str, str]]:
    """(status, answer) of bytes sent as they are."""
    with socket.create_connection(("127.0.0.1", up.http), PATIENCE_S) as wire:
        try:
            for part in parts:
                wire.sendall(part)
        except OSError:  # refused before all of it was sent
            pass
        text = b""
        while chunk := wire.recv(65536):
            text += chunk
    head, _, body = text.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head.lower()
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize(
    "text",
    [
        b"NONSENSE\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /v2/models/toy/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_http_is_refused_in_json(up: Gateway, text: bytes) -> None:
    status, answer = send(up, text)
    assert status == 400 and answer["error"]


def test_a_head_that_never_ends_is_refused(up: Gateway) -> None:
    line = b"X-Filler: " + b"a" * 1000 + b"\r\n"
    status, answer = send(up, b"GET /v2 HTTP/1.1\r\n", line * (HEAD_BYTES // 1000 + 200))
    assert status == 431 and str(HEAD_BYTES) in answer["error"]


def test_a_large_body_is_no_large_head(up: Gateway) -> None:
    body = b'{"inputs": [' + b" " * (4 * HEAD_BYTES) + b"]}"
    status, _, answer = up.ask("POST", "/v2/models/toy/infer", body)
    assert status == 400 and "'x' is missing" in json.loads(answer)["error"]
