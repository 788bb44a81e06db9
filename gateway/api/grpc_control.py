"""Triton's extensions over gRPC: repository, statistics, shared memory, logging, tracing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from google.protobuf import json_format
from tritonclient.grpc import service_pb2 as pb

from gateway.api.grpc_answer import answer, metadata
from gateway.control import Control
from gateway.oip.proto_codec import parameter_values
from gateway.shared_memory import Region
from model_repo.errors import Unsupported

_NO_CUDA = "CUDA shared memory is not offered: use system shared memory"


class GrpcControl:
    """The calls besides inference; what Control says, as messages."""

    _control: Control

    async def RepositoryIndex(self, request: Any, context: Any) -> Any:
        async def reply() -> Any:
            models = await self._control.index(request.repository_name, request.ready)
            return json_format.ParseDict({"models": models}, pb.RepositoryIndexResponse())

        return await answer(context, "", "", reply)

    async def RepositoryModelLoad(self, request: Any, context: Any) -> Any:
        async def reply() -> Any:
            given = parameter_values(request.parameters)
            await self._control.load(request.repository_name, request.model_name, given)
            return pb.RepositoryModelLoadResponse()

        return await answer(context, request.model_name, "", reply)

    async def RepositoryModelUnload(self, request: Any, context: Any) -> Any:
        async def reply() -> Any:
            given = parameter_values(request.parameters)
            await self._control.unload(request.repository_name, request.model_name, given)
            return pb.RepositoryModelUnloadResponse()

        return await answer(context, request.model_name, "", reply)

    async def ModelStatistics(self, request: Any, context: Any) -> Any:
        def found() -> Any:
            variant = metadata(context).get("x-variant", "")
            document = self._control.statistics(request.name, request.version, variant)
            return json_format.ParseDict(document, pb.ModelStatisticsResponse())

        return await _at_once(context, request.name, found)

    async def SystemSharedMemoryStatus(self, request: Any, context: Any) -> Any:
        def found() -> Any:
            regions = self._control.regions(request.name)
            document = {"regions": {r.name: msgspec.to_builtins(r) for r in regions}}
            return json_format.ParseDict(document, pb.SystemSharedMemoryStatusResponse())

        return await _at_once(context, "", found)

    async def SystemSharedMemoryRegister(self, request: Any, context: Any) -> Any:
        def done() -> Any:
            region = Region(request.name, request.key, request.offset, request.byte_size)
            self._control.register(region)
            return pb.SystemSharedMemoryRegisterResponse()

        return await _at_once(context, "", done)

    async def SystemSharedMemoryUnregister(self, request: Any, context: Any) -> Any:
        def done() -> Any:
            self._control.unregister(request.name)
            return pb.SystemSharedMemoryUnregisterResponse()

        return await _at_once(context, "", done)

    async def CudaSharedMemoryStatus(self, request: Any, context: Any) -> Any:
        def found() -> Any:
            if request.name:
                raise Unsupported(_NO_CUDA)
            return pb.CudaSharedMemoryStatusResponse()

        return await _at_once(context, "", found)

    async def CudaSharedMemoryRegister(self, request: Any, context: Any) -> Any:
        def refused() -> Any:
            raise Unsupported(_NO_CUDA)

        return await _at_once(context, "", refused)

    async def CudaSharedMemoryUnregister(self, request: Any, context: Any) -> Any:
        return pb.CudaSharedMemoryUnregisterResponse()

    async def LogSettings(self, request: Any, context: Any) -> Any:
        def changed() -> Any:
            given = parameter_values(request.settings)
            # One without a value stays as it is.
            kept = {name for name, each in request.settings.items() if not each.ListFields()}
            now = self._control.log_settings({k: v for k, v in given.items() if k not in kept})
            made = pb.LogSettingsResponse()
            for name, value in now.items():
                kind = {bool: "bool_param", int: "uint32_param", str: "string_param"}[type(value)]
                setattr(made.settings[name], kind, value)
            return made

        return await _at_once(context, "", changed)

    async def TraceSetting(self, request: Any, context: Any) -> Any:
        def changed() -> Any:
            given = {name: list(each.value) or None for name, each in request.settings.items()}
            made = pb.TraceSettingResponse()
            for name, value in self._control.trace_settings(request.model_name, given).items():
                made.settings[name].value.extend([value] if isinstance(value, str) else value)
            return made

        return await _at_once(context, request.model_name, changed)


async def _at_once(context: Any, model: str, reply: Callable[[], Any]) -> Any:
    async def made() -> Any:
        return reply()

    return await answer(context, model, "", made)
