"""The one table from our errors to HTTP status codes and gRPC status names."""

from __future__ import annotations

from model_repo.errors import (
    BadInput,
    Cancelled,
    Expired,
    FareboxError,
    Infeasible,
    NotFound,
    Unavailable,
    Unsupported,
)

CODES: dict[type[FareboxError], tuple[int, str]] = {
    BadInput: (400, "INVALID_ARGUMENT"),
    NotFound: (404, "NOT_FOUND"),
    Infeasible: (422, "FAILED_PRECONDITION"),
    Cancelled: (499, "CANCELLED"),
    Unsupported: (501, "UNIMPLEMENTED"),
    Unavailable: (503, "UNAVAILABLE"),
    Expired: (504, "DEADLINE_EXCEEDED"),
}
INTERNAL = (500, "INTERNAL")


def codes(error: BaseException) -> tuple[int, str]:
    """(HTTP status, gRPC status name) of the nearest ancestor in the table, else INTERNAL."""
    for kind in type(error).__mro__:
        if kind in CODES:
            return CODES[kind]
    return INTERNAL


def outcome(error: BaseException | None) -> str:
    """The value of the metric label `outcome`."""
    return "ok" if error is None else codes(error)[1].lower()
