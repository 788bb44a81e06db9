"""The OpenAPI document tells of every route, and of no other."""

from __future__ import annotations

from typing import Any, cast

from starlette.routing import Route

from gateway.api import http_v2
from gateway.oip import openapi


def routes() -> dict[str, set[str]]:
    """Every path that is served, with its verbs; what lies behind them is not asked for."""
    nobody: Any = None
    found: dict[str, set[str]] = {}
    for route in http_v2.build(nobody, nobody, nobody, "farebox", "1", bytes).routes:
        made = cast(Route, route)
        found.setdefault(made.path, set()).update(
            {m.lower() for m in made.methods or ()} - {"head"}
        )
    return found


def test_every_route_is_in_the_document_and_nothing_else() -> None:
    paths = openapi.document("1")["paths"]
    told = {path: set(item) - {"parameters"} for path, item in paths.items()}
    assert told == routes()


def test_every_reference_leads_somewhere_and_every_call_has_a_name_of_its_own() -> None:
    document = openapi.document("1.2")
    assert document["info"]["version"] == "1.2"
    names: list[str] = []

    def walk(node: object) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                _, _, kind, name = node["$ref"].split("/")
                assert name in document["components"][kind]
            names.extend([node["operationId"]] if "operationId" in node else [])
            for each in node.values():
                walk(each)
        elif isinstance(node, list):
            for each in node:
                walk(each)

    walk(document)
    assert len(names) == len(set(names)) > 30
