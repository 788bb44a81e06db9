"""POST .../infer over HTTP, as a plain ASGI application: no request or response object a call."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable

import msgspec
from starlette.types import Receive, Scope, Send

from gateway.api import access
from gateway.dataplane import DataPlane
from gateway.errors import INTERNAL, codes
from gateway.oip import json_codec
from model_repo.errors import BadInput, Cancelled, Unavailable, Unsupported

Answer = tuple[int, dict[str, str], list[bytes]]
JSON = {"content-type": "application/json"}
_WATCH_AFTER_S = 0.05


class InferEndpoint:
    """Reads, answers and writes one inference."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = read_headers(scope["headers"])
        status, extra, parts = await self._answer(scope["path_params"], headers, receive)
        if "x-request-id" in headers:
            extra["x-request-id"] = headers["x-request-id"]
        raw = [(b"content-length", b"%d" % sum(map(len, parts)))]
        raw += [(k.encode("latin-1"), v.encode("latin-1")) for k, v in extra.items()]
        if self._plane.is_draining:
            raw.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": raw})
        for part in parts[:-1]:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": parts[-1]})

    async def _answer(
        self, path: dict[str, str], headers: dict[str, str], receive: Receive
    ) -> Answer:
        model, request = path["model"], None
        try:
            _check_encoding(headers)
            body = await read_body(receive, self._plane.settings.max_body_bytes)
            received_s = time.monotonic()  # an upload's time is its client's
            version = path.get("version", "")
            request = json_codec.decode(model, version, headers, body, received_s)
            async with Watch(receive):
                response = await self._plane.infer(request)
            extra, parts = json_codec.encode(response)
        except asyncio.CancelledError:  # the server gave up waiting for it to end
            return error_answer(Unavailable("the server is shutting down: try another replica"))
        except Exception as error:
            if request is None:
                self._plane.count_unread(error)
            access.failed(error, "http", model, request.id if request else "", headers)
            return error_answer(error)
        if self._plane.settings.log_requests:
            access.served(response, "http", headers)
        return 200, extra, parts


def read_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by name; one that came twice is joined by commas, as RFC 9110 section 5.3 has it."""
    found: dict[str, str] = {}
    for key, value in raw:
        name, text = key.decode("latin-1"), value.decode("latin-1")
        found[name] = f"{found[name]}, {text}" if name in found else text
    return found


def _check_encoding(headers: dict[str, str]) -> None:
    encoding = headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise Unsupported(f"the Content-Encoding {encoding!r} is not offered: send it plain")


class Watch:
    """Abandons its block once the client goes away; Cancelled is raised then.

    Most answers are there before the watch begins: it costs a timer, not a task, for each.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None
        self._is_gone = False

    async def __aenter__(self) -> None:
        self._serving = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(_WATCH_AFTER_S, self._begin)

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._timer.cancel()
        if self._watcher:
            self._watcher.cancel()
        if self._is_gone and kind is asyncio.CancelledError:
            raise Cancelled("the client went away before its answer") from None

    def _begin(self) -> None:
        self._watcher = asyncio.create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._is_gone = True
        if self._serving:
            self._serving.cancel()


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body; raises BadInput past `limit` bytes, Cancelled when the client goes away."""
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Cancelled("the client went away before its request was complete")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise BadInput(f"the body is larger than {limit} bytes, the setting max_body_bytes")
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def error_answer(error: BaseException) -> Answer:
    """An error as the protocol has it: a JSON object with one sentence, never empty."""
    status, headers = codes(error)[0], dict(JSON)
    text = str(error) or type(error).__name__
    if (status, "INTERNAL") == INTERNAL:
        text = f"internal error: {type(error).__name__}; the server's log has the rest"
    if isinstance(error, Unavailable):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, Unsupported):
        headers["accept-encoding"] = "identity"
    return status, headers, [msgspec.json.encode({"error": text})]
