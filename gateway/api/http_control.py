"""The routes of Triton's extensions: repository, statistics, shared memory, logging, tracing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.api.http_answer import json_answer
from gateway.control import Control
from gateway.shared_memory import Region
from model_repo.errors import BadInput, Unsupported

_LARGEST = 2**20
_REPOSITORY = ("/v2/repository", "/v2/repository/{repository}")
_MODELS = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")


def routes(control: Control) -> list[Route]:
    """Those of the extensions, to stand before the models' own."""
    api = HttpControl(control)
    found = [
        Route("/v2/models/stats", api.statistics),
        *(Route(f"{path}/stats", api.statistics) for path in _MODELS),
        *(
            Route(f"{p}/trace/setting", api.trace, methods=["GET", "POST"])
            for p in ("/v2", *_MODELS)
        ),
        Route("/v2/logging", api.logging, methods=["GET", "POST"]),
    ]
    for path in _REPOSITORY:
        found += [
            Route(f"{path}/index", api.index, methods=["POST"]),
            Route(f"{path}/models/{{model}}/load", api.load, methods=["POST"]),
            Route(f"{path}/models/{{model}}/unload", api.unload, methods=["POST"]),
        ]
    for kind, status, register, unregister in (
        ("system", api.regions, api.register, api.unregister),
        ("cuda", api.no_regions, api.no_cuda, api.no_cuda_to_forget),
    ):
        base = f"/v2/{kind}sharedmemory"
        for path in (base, f"{base}/region/{{region}}"):
            found += [
                Route(f"{path}/status", status),
                Route(f"{path}/unregister", unregister, methods=["POST"]),
            ]
        found.append(Route(f"{base}/region/{{region}}/register", register, methods=["POST"]))
    return found


class HttpControl:
    """Reads what is asked, and answers what Control says."""

    def __init__(self, control: Control) -> None:
        self._control = control

    async def index(self, request: Request) -> Response:
        given = await read_object(request)
        repository = request.path_params.get("repository", "")
        return json_answer(await self._control.index(repository, given.get("ready") is True))

    async def load(self, request: Request) -> Response:
        path, given = request.path_params, await read_object(request)
        await self._control.load(path.get("repository", ""), path["model"], _parameters(given))
        return json_answer({})

    async def unload(self, request: Request) -> Response:
        path, given = request.path_params, await read_object(request)
        await self._control.unload(path.get("repository", ""), path["model"], _parameters(given))
        return json_answer({})

    async def statistics(self, request: Request) -> Response:
        path = request.path_params
        model, version = path.get("model", ""), path.get("version", "")
        variant = request.headers.get("x-variant", "")
        found = self._control.statistics(model, version, variant)
        for each in found["model_stats"] if not variant else ():
            each["variants"] = self._control.by_variant(each["name"], each["version"])
        return json_answer(found)

    async def regions(self, request: Request) -> Response:
        found = self._control.regions(request.path_params.get("region", ""))
        return json_answer([_plain(region) for region in found])

    async def register(self, request: Request) -> Response:
        given = await read_object(request)
        document = {"offset": 0, **given, "name": request.path_params["region"]}
        try:
            region = msgspec.convert(document, Region)
        except msgspec.ValidationError as error:
            raise BadInput(
                f"the shared memory region does not fit the protocol: {error}"
            ) from error
        self._control.register(region)
        return json_answer({})

    async def unregister(self, request: Request) -> Response:
        self._control.unregister(request.path_params.get("region", ""))
        return json_answer({})

    async def no_regions(self, request: Request) -> Response:
        if "region" in request.path_params:
            _refuse_cuda()
        return json_answer([])

    async def no_cuda(self, request: Request) -> Response:
        _refuse_cuda()

    async def no_cuda_to_forget(self, request: Request) -> Response:
        return json_answer({})

    async def logging(self, request: Request) -> Response:
        given = await read_object(request) if request.method == "POST" else {}
        return json_answer(self._control.log_settings(given))

    async def trace(self, request: Request) -> Response:
        given = await read_object(request) if request.method == "POST" else {}
        return json_answer(
            self._control.trace_settings(request.path_params.get("model", ""), given)
        )


def _refuse_cuda() -> NoReturn:
    raise Unsupported("CUDA shared memory is not offered: use system shared memory")


async def read_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object; an empty one is an empty object. Raises BadInput."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST:
            raise BadInput(f"the body is larger than {_LARGEST} bytes, the most for such a request")
    try:
        return msgspec.json.decode(body, type=dict[str, Any]) if body.strip() else {}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"the request is not a JSON object: {error}") from error


def _parameters(given: Mapping[str, Any]) -> dict[str, object]:
    found = given.get("parameters", {})
    if not isinstance(found, dict):
        raise BadInput(f"parameters is {found!r}: give an object")
    return found


def _plain(region: Region) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(region)
    return found
