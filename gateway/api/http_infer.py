"""POST .../infer over HTTP, as a plain ASGI application: no request or response object a call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from starlette.types import Receive, Scope, Send

from gateway.api import access
from gateway.api.http_answer import Answer, error_answer
from gateway.core.request import Body, InferRequest, Part
from gateway.dataplane import DataPlane
from gateway.oip import compression, json_codec, raw_request
from model_repo.errors import BadInput, Cancelled, FareboxError, Unavailable

_WATCH_AFTER_S = 0.05
_LEAST = 1024  # bytes; a smaller answer fits a packet as it is
_LONG = 64 * 1024  # bytes that are not squeezed on the event loop


class InferEndpoint:
    """Reads, answers and writes one inference."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    @property
    def largest_body(self) -> int:
        """Bytes that a body may have."""
        return self._plane.settings.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The same as an ASGI application, for whatever does not come by the fast lane."""
        path, headers = scope["path_params"], read_headers(scope["headers"])
        try:
            body = await read_body(receive, self.largest_body)
        except FareboxError as error:
            status, extra, parts = self.refuse(error, path["model"], headers)
        else:
            async with Watch(receive) as watch:
                given = path, headers, body, lambda: watch.is_gone
                status, extra, parts = await self.answer(*given)
        raw = [(b"content-length", b"%d" % sum(map(len, parts)))]
        raw += [(k.encode("latin-1"), v.encode("latin-1")) for k, v in extra.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        for part in parts[:-1]:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": parts[-1]})

    def refuse(self, error: Exception, model: str, headers: dict[str, str]) -> Answer:
        """The answer to a request whose body could not be read."""
        self._plane.count_unread(error)
        access.failed(error, "http", model, "", headers)
        return self._signed(error_answer(error), headers)

    async def answer(
        self,
        path: dict[str, str],
        headers: dict[str, str],
        body: Body,
        is_gone: Callable[[], bool],
    ) -> Answer:
        """Answer one inference, whatever comes.

        path: the model and, where it is given, the version. is_gone: asked when the task is
        cancelled, whether that is because the client went away.
        """
        return self._signed(await self._infer(path, headers, body, is_gone), headers)

    def _signed(self, answer: Answer, headers: dict[str, str]) -> Answer:
        extra = answer[1]
        if "x-request-id" in headers:
            extra["x-request-id"] = headers["x-request-id"]
        if self._plane.is_draining:
            extra["connection"] = "close"
        return answer

    async def _infer(
        self,
        path: dict[str, str],
        headers: dict[str, str],
        body: Body,
        is_gone: Callable[[], bool],
    ) -> Answer:
        model, request = path["model"], None
        received_s = time.monotonic()  # an upload's time is its client's
        try:
            if "content-encoding" in headers:
                body = await self._decompressed(body, headers["content-encoding"])
            request = self._decode(model, path.get("version", ""), headers, body, received_s)
            response = await self._plane.infer(request)
            extra, parts = json_codec.encode(response, self._plane.regions)
            if "accept-encoding" in headers:
                parts = await _compressed(headers["accept-encoding"], extra, parts)
            if self._plane.settings.log_requests:
                access.served(response, "http", headers)
        except asyncio.CancelledError:
            error: Exception = Unavailable("the server is shutting down: try another replica")
            if is_gone():
                error = Cancelled("the client went away before its answer")
                access.failed(error, "http", model, request.id if request else "", headers)
            return error_answer(error)
        except Exception as error:
            if request is None:
                self._plane.count_unread(error)
            access.failed(error, "http", model, request.id if request else "", headers)
            return error_answer(error)
        return 200, extra, parts

    def _decode(
        self,
        model: str,
        version: str,
        headers: dict[str, str],
        body: Body,
        received_s: float,
    ) -> InferRequest:
        if headers.get(json_codec.JSON_LENGTH) == "0":
            known = self._plane.catalog.find(model, version).model
            return raw_request.decode(known, version, headers, body, received_s)
        memory = self._plane.regions
        return json_codec.decode(model, version, headers, body, received_s, memory)

    async def _decompressed(self, body: Body, given: str) -> Body:
        encoding = compression.check(given)
        if encoding == compression.IDENTITY:
            return body
        # A few bytes may hold a great many.
        return await asyncio.to_thread(compression.decompress, body, encoding, self.largest_body)


async def _compressed(accepted: str, extra: dict[str, str], parts: list[Part]) -> list[Part]:
    extra["vary"] = "accept-encoding"
    encoding, size = compression.choose(accepted), sum(map(len, parts))
    if encoding == compression.IDENTITY or size < _LEAST:
        return parts
    extra["content-encoding"] = encoding
    if size < _LONG:
        return [compression.compress(parts, encoding)]
    return [await asyncio.to_thread(compression.compress, parts, encoding)]


def read_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by name; one that came twice is joined by commas, as RFC 9110 section 5.3 has it."""
    found: dict[str, str] = {}
    for key, value in raw:
        name, text = key.decode("latin-1"), value.decode("latin-1")
        found[name] = f"{found[name]}, {text}" if name in found else text
    return found


class Watch:
    """Abandons its block once the client goes away; Cancelled is raised then.

    Most answers are there before the watch begins: it costs a timer, not a task, for each.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None
        self.is_gone = False

    async def __aenter__(self) -> Watch:
        self._serving = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(_WATCH_AFTER_S, self._begin)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._timer.cancel()
        if self._watcher:
            self._watcher.cancel()
        if self.is_gone and kind is asyncio.CancelledError:
            raise Cancelled("the client went away before its answer") from None

    def _begin(self) -> None:
        self._watcher = asyncio.create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.is_gone = True
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
