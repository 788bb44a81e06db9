"""How a gRPC call is answered: its metadata read, its errors made the call's status."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import grpc

from gateway.api import access
from gateway.api.http_answer import error_text
from gateway.errors import codes

_TEXT_CHARACTERS = 1000
Reply = TypeVar("Reply")


async def answer(
    context: Any, model: str, request_id: str, reply: Callable[[], Awaitable[Reply]]
) -> Reply:
    """Run `reply`; an error becomes the call's status by the one table."""
    try:
        return await reply()
    except Exception as error:
        access.failed(error, "grpc", model, request_id, metadata(context))
        # Clients refuse trailers of more than 8 to 16 KiB, and text grows threefold on the way.
        text = error_text(error)[:_TEXT_CHARACTERS]
        await context.abort(grpc.StatusCode[codes(error)[1]], text)
        raise AssertionError("abort raises") from error


def metadata(context: Any) -> dict[str, str]:
    """The call's metadata by key, but for what is binary."""
    pairs = ((k, v) for k, v in context.invocation_metadata() or () if isinstance(v, str))
    return read_metadata(pairs)


def read_metadata(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Metadata by key; a key that came twice is joined by commas, as the gRPC protocol has it."""
    found: dict[str, str] = {}
    for key, value in pairs:
        found[key] = f"{found[key]}, {value}" if key in found else value
    return found
