"""Builds TensorRT for RTX engines on a machine without a GPU, for named compute capabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from compilers.gpu import archive
from model_repo.errors import BadInput, Unsupported
from model_repo.tensorrt_archive import ABOUT, GRAPH, About, engine_name
from model_repo.tensorrt_building import build


def known(library: Any) -> dict[str, Any]:
    """Compute capabilities that engines can be built for, as "8.9" -> the library's own name."""
    names = [name for name in dir(library.ComputeCapability) if name.startswith("SM")]
    return {f"{n[2:-1]}.{n[-1]}": getattr(library.ComputeCapability, n) for n in names}


def write(library: Any, proto: Any, capabilities: Sequence[str], path: Path) -> None:
    """Write an uncompressed zip of the ONNX file and an engine for each compute capability.

    Raises BadInput for one that is not known, and Unsupported, naming the node, for what the
    library does not take.
    """
    names = known(library)
    for name in capabilities:
        if name not in names:
            raise BadInput(
                f"compute_capabilities names {name!r}, which tensorrt-rtx {library.__version__} "
                f"builds no engines for: choose from {listed(library)}"
            )
    data = proto.SerializeToString(deterministic=True)
    about = About(library.__version__, tuple(capabilities))
    parts = {ABOUT: msgspec.json.encode(about), GRAPH: data}
    for name in capabilities:
        parts[engine_name(name)] = build(library, data, names[name])
    archive.write(path, parts)


def of_card(library: Any, card: str, capability: str) -> tuple[str, ...]:
    """The compute capability of the chosen card; raises Unsupported if there are no engines."""
    if capability not in known(library):
        raise Unsupported(
            f"tensorrt-rtx {library.__version__} builds no engines for the {card} ({capability}), "
            f"but for {listed(library)}: name one in compute_capabilities, or take the format "
            "tensorrt, whose engines are built beside the GPU"
        )
    return (capability,)


def listed(library: Any) -> str:
    """The compute capabilities there are, in order."""
    return ", ".join(sorted(known(library), key=float))
