"""The ports: binds HTTP, gRPC and metrics, opens them together, and closes them gently."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from gateway.api import grpc_v2, http_v2
from gateway.api.http_infer import InferEndpoint
from gateway.control import Control
from gateway.dataplane import DataPlane
from gateway.fast_lane import FastLane
from gateway.http_protocol import BoundedHttp
from gateway.settings import Settings
from model_repo.errors import BadInput

_BACKLOG = 2048
_KEEP_ALIVE_S = 75
_LAST_READ_S = 0.1


class Fronts:
    """Bound at once, so that a taken port is found before models are loaded.

    http, grpc, metrics: the ports really bound. Raises BadInput naming the port that is taken.
    """

    def __init__(
        self,
        settings: Settings,
        plane: DataPlane,
        control: Control,
        scrape: Callable[[], bytes],
    ) -> None:
        self._settings, self._plane = settings, plane
        name, release = settings.server_name, version("farebox")
        self._sockets = [
            _bind(settings.host, settings.http_port, "http_port"),
            _bind(settings.host, settings.metrics_port, "metrics_port"),
        ]
        self._grpc = grpc_v2.build(plane, control, name, release)
        self.http, self.metrics = (int(s.getsockname()[1]) for s in self._sockets)
        self.grpc = self._bind_grpc()
        page = Starlette(routes=[Route("/metrics", http_v2.metrics_endpoint(scrape))])
        infer = InferEndpoint(plane)
        api = http_v2.build(plane, control, infer, name, release, scrape)
        self._webs = [
            Web(_web_config(app, http, settings))
            for app, http in ((api, partial(FastLane, endpoint=infer)), (page, BoundedHttp))
        ]
        self._tasks: list[asyncio.Task[None]] = []

    def _bind_grpc(self) -> int:
        host, port = self._settings.host, self._settings.grpc_port
        if port:  # gRPC's core writes lines of its own about a port that is taken
            _bind(host, port, "grpc_port").close()
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            return int(self._grpc.add_insecure_port(address))
        except RuntimeError as error:
            raise _cannot_bind("grpc_port", host, port, "address in use") from error

    async def open(self) -> None:
        """Take calls; returns once every port does."""
        await self._grpc.start()
        self._tasks = [
            asyncio.create_task(web.serve([listener]))
            for web, listener in zip(self._webs, self._sockets, strict=True)
        ]
        while not all(web.started for web in self._webs):
            await asyncio.sleep(0.005)

    async def close(self) -> None:
        """Take no more calls, and let those in flight end, for at most `drain_s`."""
        for web in self._webs:
            for server in web.servers:
                server.close()
        # What was sent on open connections is still to be read: closing them now would lose it.
        # Not before the door is closed do answers say `Connection: close`, or clients would come
        # back through it, and those still waiting to be let in would be lost.
        self._plane.is_draining = True
        await asyncio.sleep(_LAST_READ_S)
        for web in self._webs:
            web.should_exit = True
        await asyncio.gather(self._grpc.stop(self._settings.drain_s), *self._tasks)


class Web(uvicorn.Server):
    """uvicorn without signal handlers of its own: several servers share this process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _web_config(app: Starlette, http: Any, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=http,
        loop="none",
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
    )


def _bind(host: str, port: int, what: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _cannot_bind(what, host, port, error.strerror) from error
    return listener


def _cannot_bind(what: str, host: str, port: int, reason: str | None) -> BadInput:
    return BadInput(
        f"{what} {host}:{port} cannot be opened ({reason}): choose another port or host"
    )
