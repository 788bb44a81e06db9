"""What the parameters of a tensor ask for: shared memory, classes, the binary format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from gateway.core.request import OutputAsk, Place
from model_repo.errors import BadInput
from model_repo.tensors import Array, to_bytes

REGION, SIZE, OFFSET = (
    "shared_memory_region",
    "shared_memory_byte_size",
    "shared_memory_offset",
)
_MOST = 2**63 - 1


class Memory(Protocol):
    """Shared memory that clients registered."""

    def read(self, name: str, offset: int, byte_size: int) -> bytes:
        """Bytes of a region; raises NotFound and BadInput."""

    def write(self, name: str, offset: int, data: bytes) -> None:
        """Put bytes into a region; raises NotFound and BadInput."""


def place(parameters: Mapping[str, object], tensor: str) -> Place | None:
    """The shared memory a tensor is in, or None; raises BadInput naming what makes no sense."""
    if REGION not in parameters:
        for name in (SIZE, OFFSET):
            if name in parameters:
                raise BadInput(f"tensor {tensor!r} has {name}, but no {REGION}")
        return None
    region = parameters[REGION]
    if not isinstance(region, str) or not region:
        raise BadInput(f"tensor {tensor!r} has {REGION} {region!r}: give the name of a region")
    if SIZE not in parameters:
        raise BadInput(f"tensor {tensor!r} is in shared memory, but has no {SIZE}")
    return Place(region, _whole(parameters, OFFSET, tensor, 0), _whole(parameters, SIZE, tensor, 0))


def output(name: str, parameters: Mapping[str, object], is_binary: bool) -> OutputAsk:
    """An output as it was asked for; raises BadInput naming what makes no sense."""
    where = place(parameters, name)
    if where and parameters.get("binary_data") is True:
        raise BadInput(f"the output {name!r} has both {REGION} and binary_data: give one")
    classes = _whole(parameters, "classification", name, 1) if "classification" in parameters else 0
    if where and classes:
        raise BadInput(f"the output {name!r} has both {REGION} and classification: give one")
    return OutputAsk(name, is_binary, classes, where)


def put(array: Array, where: Place, output: str, memory: Memory) -> dict[str, Any]:
    """Write an output where its client wants it; returns the parameters that say so."""
    data = to_bytes(array)
    if len(data) > where.byte_size:
        raise BadInput(
            f"the output {output!r} takes {len(data)} bytes, but {SIZE} is {where.byte_size}"
        )
    memory.write(where.region, where.offset, data)
    offset = {OFFSET: where.offset} if where.offset else {}
    return {REGION: where.region, SIZE: len(data), **offset}


def _whole(parameters: Mapping[str, object], name: str, tensor: str, least: int) -> int:
    value = parameters.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MOST:
        raise BadInput(
            f"tensor {tensor!r} has {name} {value!r}: give a whole number of at least {least}"
        )
    return value
