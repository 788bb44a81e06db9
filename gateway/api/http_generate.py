"""POST .../generate and .../generate_stream over HTTP."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import Response

from gateway.api import access
from gateway.api.http_answer import JSON, error_answer
from gateway.api.http_infer import Watch, read_body, read_headers
from gateway.dataplane import DataPlane
from gateway.oip import generate

_EVENTS = {"content-type": "text/event-stream", "cache-control": "no-cache"}


class Generate:
    """Answers in one piece: a model here gives one answer, so that a stream has one event."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    async def answer(self, request: Request) -> Response:
        """A JSON object, or an error with its status."""
        status, headers, body = await self._infer(request)
        return Response(body, status, headers=headers or JSON)

    async def stream(self, request: Request) -> Response:
        """Server-sent events; an error before the first of them has its status."""
        status, headers, body = await self._infer(request)
        if status != 200:
            return Response(body, status, headers=headers)
        return Response(b"data: " + body + b"\n\n", 200, headers=_EVENTS)

    async def _infer(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        path, headers = request.path_params, read_headers(request.headers.raw)
        model, infer = path["model"], None
        try:
            version = path.get("version", "")
            known = self._plane.catalog.find(model, version).model
            body = await read_body(request.receive, self._plane.settings.max_body_bytes)
            infer = generate.decode(known, version, headers, body, time.monotonic())
            async with Watch(request.receive):
                response = await self._plane.infer(infer)
            if self._plane.settings.log_requests:
                access.served(response, "http", headers)
            return 200, {}, generate.encode(response)
        except Exception as error:
            if infer is None:
                self._plane.count_unread(error)
            access.failed(error, "http", model, infer.id if infer else "", headers)
            status, extra, parts = error_answer(error)
            return status, extra, b"".join(parts)
