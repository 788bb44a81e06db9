"""Open Inference Protocol v2 over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.api import access, http_control
from gateway.api.http_answer import error_answer, json_answer
from gateway.api.http_generate import Generate
from gateway.api.http_infer import InferEndpoint
from gateway.control import Control
from gateway.core.catalog import Entry
from gateway.dataplane import DataPlane
from gateway.oip import describe, openapi
from model_repo.errors import FareboxError

_PREFIXES = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")


def build(
    plane: DataPlane,
    control: Control,
    infer: InferEndpoint,
    name: str,
    version: str,
    scrape: Callable[[], bytes],
) -> Starlette:
    """The application; `scrape` gives the metrics page."""
    api = HttpApi(plane, name, version)
    generate = Generate(plane)
    # In the order they are tried in: what is asked for most comes first.
    routes = [Route(f"{prefix}/infer", infer, methods=["POST"]) for prefix in _PREFIXES]
    routes += [
        Route("/v2", api.server),
        Route("/v2/health/live", api.live),
        Route("/v2/health/ready", api.ready),
        Route("/metrics", metrics_endpoint(scrape)),
        Route("/openapi.json", api.openapi),
        *http_control.routes(control),
    ]
    for prefix in _PREFIXES:
        routes += [
            Route(f"{prefix}/generate", generate.answer, methods=["POST"]),
            Route(f"{prefix}/generate_stream", generate.stream, methods=["POST"]),
            Route(f"{prefix}/ready", api.model_ready),
            Route(f"{prefix}/config", api.config),
            Route(prefix, api.metadata),
        ]
    return Starlette(
        routes=routes,
        # Exception alone would be taken for a defect: logged with its traceback and raised again.
        exception_handlers={HTTPException: _not_routed, FareboxError: _failed, Exception: _failed},
    )


def metrics_endpoint(scrape: Callable[[], bytes]) -> Callable[[Request], Any]:
    """The Prometheus page."""

    async def metrics(request: Request) -> Response:
        return Response(scrape(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return metrics


class HttpApi:
    """Everything but inference."""

    def __init__(self, plane: DataPlane, name: str, version: str) -> None:
        self._plane, self._name, self._version = plane, name, version

    async def server(self, request: Request) -> Response:
        return json_answer(describe.server(self._name, self._version))

    async def openapi(self, request: Request) -> Response:
        return json_answer(openapi.document(self._version))

    async def live(self, request: Request) -> Response:
        return json_answer({"live": True})

    async def ready(self, request: Request) -> Response:
        if not self._plane.is_ready:
            return json_answer({"error": "the server is not ready", "ready": False}, 503)
        return json_answer({"ready": True})

    async def metadata(self, request: Request) -> Response:
        entry = self._find(request)
        versions = self._plane.catalog.versions(entry.model.name)
        return json_answer(describe.metadata(entry, versions))

    async def config(self, request: Request) -> Response:
        return json_answer(describe.config(self._find(request)))

    async def model_ready(self, request: Request) -> Response:
        entry = self._find(request)
        return json_answer({"name": entry.model.name, "ready": True})

    def _find(self, request: Request) -> Entry:
        params = request.path_params
        return self._plane.catalog.find(params["model"], params.get("version", ""))


async def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "Starlette calls this for its own exceptions only"
    answer = json_answer({"error": error.detail}, error.status_code)
    answer.headers.update(error.headers or {})
    return answer


async def _failed(request: Request, error: Exception) -> Response:
    headers = {k: v for k, v in request.headers.items()}
    access.failed(error, "http", request.path_params.get("model", ""), "", headers)
    status, extra, parts = error_answer(error)
    return Response(b"".join(parts), status, headers=dict(extra))
