"""Files that are there whole or not at all, even after a power cut."""

from __future__ import annotations

import os
import shutil
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


def copy(source: Path, place: Path) -> None:
    """Put a copy of `source` at `place`, replacing what was there at one stroke."""
    partial = place.with_name(f".{place.name}.partial")
    shutil.copyfile(source, partial)
    sync(partial)
    os.replace(partial, place)


def write(path: Path, record: object) -> None:
    """Put a record at `path` as JSON, replacing what was there at one stroke."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
    sync(partial)
    os.replace(partial, path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
