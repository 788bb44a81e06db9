"""Open Inference Protocol v2 over gRPC, with the stubs tritonclient ships."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import grpc
from google.protobuf import json_format
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from gateway.api import access
from gateway.dataplane import DataPlane
from gateway.errors import INTERNAL, codes
from gateway.oip import describe, proto_codec
from model_repo.errors import NotFound

_MESSAGE_BYTES = 2**31 - 1
_TEXT_CHARACTERS = 1000
Reply = TypeVar("Reply")


class GrpcApi(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # tritonclient ships no types
    """The same data plane as HTTP."""

    def __init__(self, plane: DataPlane, name: str, version: str) -> None:
        self._plane, self._name, self._version = plane, name, version

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

        return await _answer(context, request.name, "", reply)

    async def ModelConfig(self, request: Any, context: Any) -> Any:
        async def reply() -> Any:
            entry = self._plane.catalog.find(request.name, request.version)
            document = {"config": describe.config(entry)}
            return json_format.ParseDict(document, pb.ModelConfigResponse())

        return await _answer(context, request.name, "", reply)

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        received_s = time.monotonic()

        async def reply() -> Any:
            metadata = _metadata(context)
            remaining_s = context.time_remaining()
            try:
                infer = proto_codec.decode(request, metadata, received_s, remaining_s)
            except Exception as error:
                self._plane.count_unread(error)
                raise
            response = await self._plane.infer(infer)
            if self._plane.settings.log_requests:
                access.served(response, "grpc", metadata)
            return proto_codec.encode(response)

        return await _answer(context, request.model_name, request.id, reply)


async def _answer(
    context: Any, model: str, request_id: str, reply: Callable[[], Awaitable[Reply]]
) -> Reply:
    """Run `reply`; an error becomes the call's status by the one table."""
    try:
        return await reply()
    except Exception as error:
        access.failed(error, "grpc", model, request_id, _metadata(context))
        status = codes(error)
        text = str(error) or type(error).__name__
        if status == INTERNAL:
            text = f"internal error: {type(error).__name__}; the server's log has the rest"
        # Clients refuse trailers of more than 8 to 16 KiB, and text grows threefold on the way.
        await context.abort(grpc.StatusCode[status[1]], text[:_TEXT_CHARACTERS])
        raise AssertionError("abort raises") from error


def _metadata(context: Any) -> dict[str, str]:
    pairs = ((k, v) for k, v in context.invocation_metadata() or () if isinstance(v, str))
    return read_metadata(pairs)


def read_metadata(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Metadata by key; a key that came twice is joined by commas, as the gRPC protocol has it."""
    found: dict[str, str] = {}
    for key, value in pairs:
        found[key] = f"{found[key]}, {value}" if key in found else value
    return found


def _refuse(method: str) -> Callable[[Any, Any, Any], Awaitable[None]]:
    async def refuse(self: GrpcApi, request: Any, context: Any) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{method} is not offered yet")

    return refuse


# Without this a call of one would be logged as a defect, with its traceback.
for _method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods:
    if _method.name not in vars(GrpcApi):
        setattr(GrpcApi, _method.name, _refuse(_method.name))


def build(plane: DataPlane, name: str, version: str) -> Any:
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
        GrpcApi(plane, name, version), server
    )
    return server
