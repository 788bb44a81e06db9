"""grpc.health.v1: whether the server takes calls, as Kubernetes and balancers ask it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from gateway.dataplane import DataPlane

_LOOK_S = 0.5
_UNKNOWN = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # it ships no types
    """grpc.health.v1, of the server and of the inference service alike."""

    def __init__(self, plane: DataPlane, service: str) -> None:
        self._plane, self._known = plane, ("", service, health.SERVICE_NAME)

    async def Check(self, request: Any, context: Any) -> Any:
        if request.service not in self._known:
            await context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"no service {request.service!r}: ask for {self._known[1]!r}",
            )
        return self._status()

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        known = request.service in self._known
        before = None
        while True:
            status = self._status() if known else _UNKNOWN
            if status != before:
                yield status
            before = status
            await asyncio.sleep(_LOOK_S)

    def _status(self) -> Any:
        words = health_pb2.HealthCheckResponse
        return words(status=words.SERVING if self._plane.is_ready else words.NOT_SERVING)
