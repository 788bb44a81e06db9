"""Open Inference Protocol v2 over HTTP."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.api import access
from gateway.core.catalog import Entry
from gateway.dataplane import DataPlane
from gateway.errors import INTERNAL, codes
from gateway.oip import describe, json_codec
from model_repo.errors import BadInput, Cancelled, FareboxError, Unavailable, Unsupported

Answer = tuple[int, dict[str, str], list[bytes]]
JSON = {"content-type": "application/json"}
_WATCH_AFTER_S = 0.05
_PREFIX = "/v2/models/{model}"
_VERSIONED = "/v2/models/{model}/versions/{version}"


def build(plane: DataPlane, name: str, version: str, scrape: Callable[[], bytes]) -> Starlette:
    """The application; `scrape` gives the metrics page."""
    api = HttpApi(plane, name, version)
    infer = InferEndpoint(plane)
    routes = [
        Route("/v2", api.server),
        Route("/v2/health/live", api.live),
        Route("/v2/health/ready", api.ready),
        Route("/metrics", metrics_endpoint(scrape)),
    ]
    for prefix in (_VERSIONED, _PREFIX):
        routes += [
            Route(f"{prefix}/infer", infer, methods=["POST"]),
            Route(f"{prefix}/ready", api.model_ready),
            Route(f"{prefix}/config", api.config),
            Route(prefix, api.metadata),
        ]
    return Starlette(
        routes=routes,
        # Exception alone would be taken for a defect: logged with its traceback and raised again.
        exception_handlers={HTTPException: _not_routed, FareboxError: _failed, Exception: _failed},
    )


def metrics_endpoint(scrape: Callable[[], bytes]) -> Callable[[Request], Any]:
    """The Prometheus page."""

    async def metrics(request: Request) -> Response:
        return Response(scrape(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return metrics


class HttpApi:
    """Everything but inference."""

    def __init__(self, plane: DataPlane, name: str, version: str) -> None:
        self._plane, self._name, self._version = plane, name, version

    async def server(self, request: Request) -> Response:
        return _json(describe.server(self._name, self._version))

    async def live(self, request: Request) -> Response:
        return _json({"live": True})

    async def ready(self, request: Request) -> Response:
        if not self._plane.is_ready:
            return _json({"error": "the server is not ready", "ready": False}, 503)
        return _json({"ready": True})

    async def metadata(self, request: Request) -> Response:
        entry = self._find(request)
        versions = self._plane.catalog.versions(entry.model.name)
        return _json(describe.metadata(entry, versions))

    async def config(self, request: Request) -> Response:
        return _json(describe.config(self._find(request)))

    async def model_ready(self, request: Request) -> Response:
        entry = self._find(request)
        return _json({"name": entry.model.name, "ready": True})

    def _find(self, request: Request) -> Entry:
        params = request.path_params
        return self._plane.catalog.find(params["model"], params.get("version", ""))


class InferEndpoint:
    """POST .../infer as a plain ASGI application: no request or response object per call."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        received_s = time.monotonic()
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        model, request_id = scope["path_params"]["model"], ""
        try:
            _check_encoding(headers)
            body = await read_body(receive, self._plane.settings.max_body_bytes)
            version = scope["path_params"].get("version", "")
            request = json_codec.decode(model, version, headers, body, received_s)
            request_id = request.id
            async with Watch(receive):
                response = await self._plane.infer(request)
            status, (extra, parts) = 200, json_codec.encode(response)
            if self._plane.settings.log_requests:
                access.served(response, "http", headers)
        except Exception as error:
            access.failed(error, "http", model, request_id, headers)
            status, extra, parts = error_answer(error)
        if "x-request-id" in headers:
            extra["x-request-id"] = headers["x-request-id"]
        length = sum(map(len, parts))
        raw = [(b"content-length", b"%d" % length)]
        raw += [(k.encode("latin-1"), v.encode("latin-1")) for k, v in extra.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        for part in parts[:-1]:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": parts[-1]})


def _check_encoding(headers: Mapping[str, str]) -> None:
    encoding = headers.get("content-encoding", "identity")
    if encoding != "identity":
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


def _json(document: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(document), status, headers=JSON)


async def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "Starlette calls this for its own exceptions only"
    return Response(
        msgspec.json.encode({"error": error.detail}),
        error.status_code,
        headers={**JSON, **(error.headers or {})},
    )


async def _failed(request: Request, error: Exception) -> Response:
    headers = {k: v for k, v in request.headers.items()}
    access.failed(error, "http", request.path_params.get("model", ""), "", headers)
    status, extra, parts = error_answer(error)
    return Response(b"".join(parts), status, headers=dict(extra))
