"""Files that are there whole or not at all, even after a power cut."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from model_repo.errors import Corrupt

Record = TypeVar("Record")


def read(path: Path, record: type[Record]) -> Record:
    """The record in a JSON file; raises Corrupt if it cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=record)
    except (OSError, msgspec.MsgspecError) as error:
        raise Corrupt(f"{path} cannot be read: {error}") from error


def copy(source: Path, place: Path, check: Callable[[Path], None]) -> None:
    """Put a copy of `source` at `place`, replacing what was there at one stroke.

    check: raises unless the copy is as it should be; `place` is then left as it was.
    """
    partial = _partial(place)
    try:
        shutil.copyfile(source, partial)
        check(partial)
        sync(partial)
        os.replace(partial, place)
    except Exception:
        partial.unlink(missing_ok=True)
        raise


def write(path: Path, record: object) -> None:
    """Put a record at `path` as JSON, replacing what was there at one stroke."""
    write_bytes(path, msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")


def write_bytes(path: Path, data: bytes) -> None:
    """Put `data` at `path`, replacing what was there at one stroke."""
    partial = _partial(path)
    try:
        partial.write_bytes(data)
        sync(partial)
        os.replace(partial, path)
    except Exception:
        partial.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")
