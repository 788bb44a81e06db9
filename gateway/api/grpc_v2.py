"""Open Inference Protocol v2 over gRPC, with the stubs tritonclient ships."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf import json_format
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from gateway.api import access, grpc_stream
from gateway.api.grpc_answer import answer, metadata
from gateway.api.grpc_control import GrpcControl
from gateway.api.grpc_health import Health
from gateway.control import Control
from gateway.dataplane import DataPlane
from gateway.oip import describe, proto_codec
from model_repo.errors import NotFound

_MESSAGE_BYTES = 2**31 - 1
_SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name


class GrpcApi(GrpcControl, service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # tritonclient ships no types
    """The same data plane as HTTP."""

    def __init__(self, plane: DataPlane, control: Control, name: str, version: str) -> None:
        self._plane, self._control, self._name, self._version = plane, control, name, version

    async def ServerLive(self, request: Any, context: Any) -> Any:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Any) -> Any:
        return pb.ServerReadyResponse(ready=self._plane.is_ready)

    async def ModelReady(self, request: Any, context: Any) -> Any:
        try:
            self._plane.catalog.find(request.name, request.version)
        except NotFound:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    async def ServerMetadata(self, request: Any, context: Any) -> Any:
        return pb.ServerMetadataResponse(**describe.server(self._name, self._version))

    async def ModelMetadata(self, request: Any, context: Any) -> Any:
        async def reply() -> Any:
            catalog = self._plane.catalog
            entry = catalog.find(request.name, request.version)
            document = describe.metadata(entry, catalog.versions(entry.model.name))
            return json_format.ParseDict(document, pb.ModelMetadataResponse())

        return await answer(context, request.name, "", reply)

    async def ModelConfig(self, request: Any, context: Any) -> Any:
        async def reply() -> Any:
            entry = self._plane.catalog.find(request.name, request.version)
            document = {"config": describe.config(entry)}
            return json_format.ParseDict(document, pb.ModelConfigResponse())

        return await answer(context, request.name, "", reply)

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        received_s = time.monotonic()

        async def reply() -> Any:
            given = metadata(context)
            remaining_s = context.time_remaining()
            try:
                infer = proto_codec.decode(
                    request, given, received_s, remaining_s, self._plane.regions
                )
            except Exception as error:
                self._plane.count_unread(error)
                raise
            response = await self._plane.infer(infer)
            if self._plane.settings.log_requests:
                access.served(response, "grpc", given)
            return proto_codec.encode(response, self._plane.regions)

        return await answer(context, request.model_name, request.id, reply)

    async def ModelStreamInfer(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        async for response in grpc_stream.serve(self._plane, requests, context):
            yield response


def build(plane: DataPlane, control: Control, name: str, version: str) -> Any:
    """A grpc.aio server, not yet bound or started."""
    server = grpc.aio.server(
        options=[
            # Two servers on one port would each get half of the calls without a word.
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", plane.settings.max_body_bytes),
            ("grpc.max_send_message_length", _MESSAGE_BYTES),
        ]
    )
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(
        GrpcApi(plane, control, name, version), server
    )
    health_pb2_grpc.add_HealthServicer_to_server(Health(plane, _SERVICE), server)
    names = [_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME]
    reflection.enable_server_reflection(names, server)
    return server
