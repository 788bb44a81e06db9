"""System shared memory regions that clients register: tensors read from them, answers put there.

Bytes are copied with pread and pwrite rather than mapped: a client that shrinks its region while
it is in use would end a process that has it mapped (SIGBUS).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from msgspec import Struct

from model_repo.errors import BadInput, NotFound

_FOLDER = Path("/dev/shm")
_KEY = re.compile(r"/?[^/\0]{1,254}")


class Region(Struct, frozen=True):
    """`byte_size` bytes from `offset` on of what POSIX calls `key`."""

    name: str
    key: str
    offset: int
    byte_size: int


class Regions:
    """The regions that are registered now, by name."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[Region, int]] = {}

    def register(self, region: Region) -> None:
        """Open a region; raises BadInput where there is none, or its name is taken."""
        name, key = region.name, region.key
        if not name:
            raise BadInput("a shared memory region needs a name")
        if name in self._open:
            raise BadInput(f"shared memory region {name!r} is registered already: unregister it")
        if not _KEY.fullmatch(key) or key.strip("/") in (".", ".."):
            raise BadInput(f"the shared memory key {key!r} is none: give a name such as '/input'")
        if region.offset < 0 or region.byte_size <= 0:
            raise BadInput(
                f"shared memory region {name!r} has offset {region.offset} and byte_size "
                f"{region.byte_size}: give at least 0 and 1"
            )
        try:
            flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            file = os.open(_FOLDER / key.lstrip("/"), flags)
        except OSError as error:
            raise BadInput(
                f"shared memory region {name!r} with the key {key!r} cannot be opened: "
                f"{error.strerror}"
            ) from error
        size = os.fstat(file).st_size
        if region.offset + region.byte_size > size:
            os.close(file)
            raise BadInput(
                f"shared memory region {name!r} ends at byte {region.offset + region.byte_size}, "
                f"but {key!r} has {size}"
            )
        self._open[name] = region, file

    def unregister(self, name: str) -> None:
        """Forget a region, or all for ""; one that is not there is no error, as in Triton."""
        for known in [name] if name else list(self._open):
            if known in self._open:
                os.close(self._open.pop(known)[1])

    def status(self, name: str = "") -> list[Region]:
        """The region of that name, or all; raises NotFound."""
        if name:
            return [self._find(name)[0]]
        return [region for region, _ in self._open.values()]

    def read(self, name: str, offset: int, byte_size: int) -> bytes:
        """Bytes of a region; raises NotFound, and BadInput for a range outside of it."""
        region, file = self._range(name, offset, byte_size)
        data = os.pread(file, byte_size, region.offset + offset)
        if len(data) != byte_size:
            raise BadInput(f"shared memory region {name!r} has become smaller than it was")
        return data

    def write(self, name: str, offset: int, data: bytes) -> None:
        """Put bytes into a region; raises NotFound, and BadInput for a range outside of it."""
        region, file = self._range(name, offset, len(data))
        if os.fstat(file).st_size < region.offset + offset + len(data):
            raise BadInput(f"shared memory region {name!r} has become smaller than it was")
        os.pwrite(file, data, region.offset + offset)

    def _range(self, name: str, offset: int, byte_size: int) -> tuple[Region, int]:
        region, file = self._find(name)
        if offset < 0 or byte_size < 0 or offset + byte_size > region.byte_size:
            raise BadInput(
                f"bytes {offset} to {offset + byte_size} are not in shared memory region "
                f"{name!r}, which has {region.byte_size}"
            )
        return region, file

    def _find(self, name: str) -> tuple[Region, int]:
        if name not in self._open:
            raise NotFound(f"Unable to find shared memory region: {name!r} is not registered")
        return self._open[name]
