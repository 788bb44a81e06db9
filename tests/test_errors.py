"""One table from the error tree to HTTP and gRPC codes, and nothing left out of it."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from gateway.errors import CODES, INTERNAL, codes, outcome
from model_repo import errors
from model_repo.errors import FareboxError


def leaves(kind: type[FareboxError] = FareboxError) -> Iterator[type[FareboxError]]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from leaves(child)


def test_every_error_of_the_tree_has_its_codes() -> None:
    for kind in leaves():
        assert any(parent in CODES for parent in kind.__mro__), kind
        assert codes(kind.__new__(kind)) != INTERNAL


@pytest.mark.parametrize(
    ("kind", "status", "name"),
    [
        (errors.BadInput, 400, "INVALID_ARGUMENT"),
        (errors.Corrupt, 400, "INVALID_ARGUMENT"),
        (errors.NotFound, 404, "NOT_FOUND"),
        (errors.Infeasible, 422, "FAILED_PRECONDITION"),
        (errors.Cancelled, 499, "CANCELLED"),
        (errors.Unsupported, 501, "UNIMPLEMENTED"),
        (errors.Unavailable, 503, "UNAVAILABLE"),
        (errors.Expired, 504, "DEADLINE_EXCEEDED"),
        (ValueError, 500, "INTERNAL"),
        (FareboxError, 500, "INTERNAL"),
    ],
)
def test_the_table_is_the_protocols(kind: type[Exception], status: int, name: str) -> None:
    assert codes(kind("x")) == (status, name)
    assert outcome(kind("x")) == name.lower()


def test_every_name_is_one_of_grpcs_and_no_two_errors_share_codes() -> None:
    assert all(hasattr(grpc.StatusCode, name) for _, name in [*CODES.values(), INTERNAL])
    assert len(set(CODES.values())) == len(CODES)


def test_no_error_is_ok() -> None:
    assert outcome(None) == "ok"
