"""Answers over HTTP: JSON documents, and errors as the protocol has them."""

from __future__ import annotations

import math

import msgspec
from starlette.responses import Response

from gateway.core.request import Part
from gateway.errors import INTERNAL, codes
from gateway.oip import compression
from model_repo.errors import Unavailable, Unsupported

Answer = tuple[int, dict[str, str], list[Part]]
"""Status, headers and the parts of the body."""
JSON = {"content-type": "application/json"}


def json_answer(document: object, status: int = 200) -> Response:
    """A document as JSON."""
    return Response(msgspec.json.encode(document), status, headers=JSON)


def error_text(error: BaseException) -> str:
    """What a client is told: one sentence, never empty, and of a defect of ours only its name."""
    if codes(error) == INTERNAL:
        return f"internal error: {type(error).__name__}; the server's log has the rest"
    return str(error) or type(error).__name__


def error_answer(error: BaseException) -> Answer:
    """An error as the protocol has it: a JSON object with one sentence, never empty."""
    headers = dict(JSON)
    if isinstance(error, Unavailable):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, Unsupported):
        headers["accept-encoding"] = compression.OFFERED
    return codes(error)[0], headers, [msgspec.json.encode({"error": error_text(error)})]
