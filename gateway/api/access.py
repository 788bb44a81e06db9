"""The log line of a request: who asked, what served it, what it cost, or why it failed."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from gateway import log
from gateway.core.request import InferResponse
from gateway.errors import INTERNAL, codes
from model_repo.errors import FareboxError


def served(response: InferResponse, protocol: str, headers: Mapping[str, str]) -> None:
    """A request was answered."""
    request = response.request
    log.event(
        "served",
        {
            "protocol": protocol,
            "model": response.model,
            "version": response.version,
            "took_ms": round((time.monotonic() - request.received_s) * 1e3, 3),
            **{k: v for k, v in response.parameters.items() if k != "explain"},
            **_trace(request.id, headers),
        },
    )


def failed(
    error: BaseException, protocol: str, model: str, request_id: str, headers: Mapping[str, str]
) -> None:
    """A request got an error; a defect of ours also shows its traceback."""
    is_ours = codes(error) == INTERNAL
    level = logging.ERROR if is_ours else logging.INFO
    if log.LOGGER.isEnabledFor(level):
        log.LOGGER.log(
            level,
            "failed: %s",
            error if isinstance(error, FareboxError) else repr(error),
            exc_info=error if is_ours else None,
            extra={
                "fields": {
                    "protocol": protocol,
                    "model": model,
                    "code": codes(error)[1].lower(),
                    **_trace(request_id, headers),
                }
            },
        )


def _trace(request_id: str, headers: Mapping[str, str]) -> dict[str, str]:
    found = {"request_id": request_id or headers.get("x-request-id", "")}
    if "traceparent" in headers:
        found["traceparent"] = headers["traceparent"]
    return found
