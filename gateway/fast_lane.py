"""Inference over HTTP past ASGI: the parser's callbacks lead straight to the endpoint.

An ASGI request costs a scope, a cycle with two queues, a route and five messages, together more
than the model call it brings. Whatever is no inference goes on to the application as before.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from gateway.api.http_answer import Answer, error_answer
from gateway.api.http_infer import InferEndpoint, read_headers
from gateway.http_protocol import BoundedHttp
from model_repo.errors import BadInput

_PATH = re.compile(rb"/v2/models/([^/?#]+)(?:/versions/([^/?#]+))?/infer(?:\?[^#]*)?")
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_JOINED = 64 * 1024
"""Bytes up to which an answer is one write: copying them costs less than a second call."""


class Passage:
    """One inference on a connection; it takes the place of uvicorn's request-response cycle.

    may_start: every request before it on its connection has been answered.
    """

    def __init__(self, lane: FastLane, path: dict[str, str], keep_alive: bool) -> None:
        self._lane = lane
        self.path = path
        self.headers = lane.headers
        self.keep_alive = keep_alive
        self.expects_continue = lane.expect_100_continue
        self.body = bytearray()
        self.may_start = False
        self.disconnected = False
        self.response_complete = False
        self.message_event = self  # uvicorn sets it when the connection is lost
        self.task: asyncio.Task[None] | None = None
        self.is_whole = False

    def set(self) -> None:
        """The client went away: abandon what was begun for it."""
        if self.disconnected and self.task:
            self.task.cancel()

    def begin(self) -> None:
        """Its turn on the connection has come."""
        self.may_start = True
        if self.expects_continue and not self.is_whole:
            self._lane.transport.write(_CONTINUE)
        if self.is_whole:
            self._lane.run(self)


class FastLane(BoundedHttp):
    """uvicorn's protocol with a way of its own for POST .../infer."""

    def __init__(self, *, endpoint: InferEndpoint, **given: Any) -> None:
        super().__init__(**given)
        self._endpoint = endpoint

    def on_headers_complete(self) -> None:
        """The head is whole: an inference takes the lane, all else the application."""
        found = _PATH.fullmatch(self.url) if self.parser.get_method() == b"POST" else None
        if found is None or self.parser.should_upgrade():
            super().on_headers_complete()
            return
        self.end_of_head()
        version = found[2]
        path = {"model": _text(found[1])} | ({"version": _text(version)} if version else {})
        before = self.cycle
        is_kept = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        passage: Any = Passage(self, path, is_kept)
        self.cycle = passage
        if before is None or before.response_complete:
            passage.begin()
        else:  # pipelined: its turn comes when the one before is answered
            self.flow.pause_reading()
            self.pipeline.appendleft((passage, self.app))

    def on_body(self, body: bytes) -> None:
        """A piece of a body; an inference keeps it until it is whole."""
        passage: Any = self.cycle
        if not isinstance(passage, Passage):
            super().on_body(body)
            return
        if passage.response_complete:
            return
        passage.body += body
        limit = self._endpoint.largest_body
        if len(passage.body) > limit:
            passage.body.clear()
            passage.is_whole = True
            self._refuse_body(passage, limit)
        elif not passage.may_start and len(passage.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    def _refuse_body(self, passage: Passage, limit: int) -> None:
        error = BadInput(f"the body is larger than {limit} bytes, the setting max_body_bytes")
        self._endpoint.refuse(error, passage.path["model"], read_headers(passage.headers))
        self.write(passage, error_answer(error))

    def on_message_complete(self) -> None:
        """A request is whole."""
        passage: Any = self.cycle
        if not isinstance(passage, Passage):
            super().on_message_complete()
        elif not passage.is_whole:
            passage.is_whole = True
            if passage.may_start:
                self.run(passage)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if isinstance(cycle, Passage):
            cycle.begin()
        else:
            super()._start_asgi_task(cycle, app)

    def run(self, passage: Passage) -> None:
        """Answer a request that is whole."""
        passage.task = task = self.loop.create_task(self._serve(passage))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _serve(self, passage: Passage) -> None:
        headers = read_headers(passage.headers)
        answer = await self._endpoint.answer(
            passage.path, headers, passage.body, lambda: passage.disconnected
        )
        if self.flow.write_paused and not passage.disconnected:
            await self.flow.drain()
        self.write(passage, answer)

    def write(self, passage: Passage, answer: Answer) -> None:
        """Send an answer, and let the next request on the connection begin."""
        if passage.disconnected or self.transport.is_closing():
            return
        status, headers, parts = answer
        if not passage.keep_alive:
            headers["connection"] = "close"
        elif headers.get("connection") == "close":
            passage.keep_alive = False
        size = sum(map(len, parts))
        head = STATUS_LINE[status] + _head(headers, size)
        if size <= _JOINED:
            self.transport.write(b"".join((head, *parts)))
        else:
            self.transport.writelines([head, *parts])
        passage.response_complete = True
        if not passage.keep_alive:
            self.transport.close()
        self.on_response_complete()


def _text(part: bytes) -> str:
    return unquote(part.decode("ascii")) if b"%" in part else part.decode("ascii")


def _head(headers: Mapping[str, str], size: int) -> bytes:
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    return f"{''.join(lines)}content-length: {size}\r\n\r\n".encode("latin-1")
