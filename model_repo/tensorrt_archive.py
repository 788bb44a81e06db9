"""What the zip of a `tensorrt_rtx` artifact holds: the graph, and engines by compute capability."""

from __future__ import annotations

import zipfile
from pathlib import Path

import msgspec
from msgspec import Struct

from model_repo.errors import Corrupt

GRAPH, ABOUT = "model.onnx", "about.json"


class About(Struct, frozen=True, forbid_unknown_fields=True):
    """tensorrt_rtx: the version that built the engines, and alone can load them."""

    tensorrt_rtx: str
    capabilities: tuple[str, ...]


def engine_name(capability: str) -> str:
    """The name in the zip of the engine for a compute capability such as "8.9"."""
    return f"engines/sm{capability.replace('.', '')}.engine"


def about(path: Path) -> About:
    """What is in the zip; raises Corrupt if it cannot be read."""
    try:
        return msgspec.json.decode(part(path, ABOUT), type=About)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"{path} cannot be read: {error}; compile the variant again") from error


def part(path: Path, name: str) -> bytes:
    """One file of the zip; raises Corrupt if it cannot be read."""
    try:
        with zipfile.ZipFile(path) as file:
            return file.read(name)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise Corrupt(f"{path} cannot be read: {error}; compile the variant again") from error
