"""ModelStreamInfer: many requests and answers over one call, answered in the order they came."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from tritonclient.grpc import service_pb2 as pb

from gateway.api import access
from gateway.api.grpc_answer import metadata
from gateway.api.http_answer import error_text
from gateway.dataplane import DataPlane
from gateway.oip import proto_codec

_AHEAD = 256
"""Requests of one stream that may be in hand at once; no more are read until one is answered."""
_FINAL = "triton_final_response"
_ASKED = "triton_enable_empty_final_response"


async def serve(plane: DataPlane, requests: Any, context: Any) -> AsyncIterator[Any]:
    """The answers; an error is one of them and leaves the stream open.

    When the client goes away, what it has in hand is abandoned.
    """
    waiting: asyncio.Queue[asyncio.Task[Any] | None] = asyncio.Queue()
    room = asyncio.Semaphore(_AHEAD)
    given = metadata(context)
    tasks: set[asyncio.Task[Any]] = set()

    async def read() -> None:
        try:
            async for request in requests:
                await room.acquire()
                task = asyncio.create_task(_one(plane, request, given, time.monotonic()))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                waiting.put_nowait(task)
        finally:
            waiting.put_nowait(None)

    reader = asyncio.create_task(read())
    try:
        while (task := await waiting.get()) is not None:
            room.release()
            yield await task
    finally:
        reader.cancel()
        for task in list(tasks):
            task.cancel()


async def _one(plane: DataPlane, message: Any, given: dict[str, str], received_s: float) -> Any:
    request = None
    try:
        request = proto_codec.decode(message, given, received_s, None, plane.regions)
        response = await plane.infer(request)
        if plane.settings.log_requests:
            access.served(response, "grpc", given)
        made = proto_codec.encode(response, plane.regions)
    except Exception as error:
        if request is None:
            plane.count_unread(error)
        access.failed(error, "grpc", message.model_name, message.id, given)
        failed = pb.ModelStreamInferResponse(error_message=error_text(error))
        failed.infer_response.id = message.id
        return failed
    if message.parameters[_ASKED].bool_param:
        made.parameters[_FINAL].bool_param = True
    return pb.ModelStreamInferResponse(infer_response=made)
