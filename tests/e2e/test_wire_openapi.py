"""Whatever the OpenAPI document allows, and much that it does not, gets a proper answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from gateway_process import Gateway, gateway
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

NAMES = {
    "model": ["toy", "linear", "echo", "none"], "version": ["1", "9"], "region": ["r"],
    "repository": ["r"],
}  # fmt: skip
CHECKS = [
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]
SETTINGS = settings(
    max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


@pytest.fixture(scope="module")
def own(shelf: Path, book: Path) -> Iterator[Gateway]:
    """A gateway of its own, since some calls unload models."""
    with gateway("--repository", shelf, "--prices", book) as running:
        yield running


def test_every_call_is_answered_as_the_document_says(own: Gateway) -> None:
    document = json.loads(own.ask("GET", "/openapi.json")[2])
    for item in document["paths"].values():
        for parameter in item.get("parameters", ()):
            parameter["schema"]["enum"] = NAMES[parameter["name"]]
    schema = schemathesis.openapi.from_dict(document)
    seen: dict[int, int] = {}
    for result in schema.get_all_operations():
        operation = result.ok()

        @SETTINGS
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            answer = case.call(base_url=f"http://127.0.0.1:{own.http}")
            case.validate_response(answer, checks=CHECKS)
            assert answer.status_code != 500, answer.text
            if answer.status_code >= 400:
                assert json.loads(answer.text)["error"]
            seen[answer.status_code] = seen.get(answer.status_code, 0) + 1

        ask()
    assert {200, 400, 404, 501} <= seen.keys(), seen
    for model in ("toy", "linear", "echo", "half"):
        assert own.ask("POST", f"/v2/repository/models/{model}/load")[0] == 200
    assert own.is_well()
