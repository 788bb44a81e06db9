"""Makes a graph ready to be turned, or refuses it, naming every operator that has no words."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from compilers.graph import opsets
from model_repo.errors import BadInput, Unsupported

OLDEST = 13
_LOOPS = ("If", "Loop", "Scan", "SequenceMap")
_STANDARD = ("", "ai.onnx")
_FEW = 3  # layers named for each operator


def ready(proto: Any, known: Collection[str]) -> Any:
    """A copy with its functions written out, checked, at OLDEST or later.

    known: the operators that there are words for. Raises Unsupported for any other, and for a way
    that depends on the data; BadInput for what is no valid ONNX.
    """
    import onnx
    from onnx import inliner

    try:
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:  # the checker's errors and shape inference's share only Exception
        raise BadInput(f"the model is no valid ONNX: {' '.join(str(error).split())}") from error
    found = onnx.ModelProto()
    found.CopyFrom(inliner.inline_local_functions(proto) if proto.functions else proto)
    found = opsets.raised(found, OLDEST, "is the oldest that has words for a TPU")
    if missing := _missing(found.graph, known):
        found = _written_out(found, missing)
        missing = _missing(found.graph, known)
    _refuse(missing)
    return found


def _missing(graph: Any, known: Collection[str]) -> dict[str, list[str]]:
    """The layers, by name, of each operator without words."""
    found: dict[str, list[str]] = {}
    for node in graph.node:
        if node.domain in _STANDARD and (node.op_type in known or node.op_type == "Constant"):
            continue
        name = node.op_type if node.domain in _STANDARD else f"{node.domain}.{node.op_type}"
        found.setdefault(name, []).append(node.name or node.output[0])
    return found


def _written_out(proto: Any, missing: Collection[str]) -> Any:
    """With the operators that ONNX defines by others, written in those."""
    from onnx import inliner

    chosen = [("", name) for name in missing if name not in _LOOPS]
    return inliner.inline_selected_functions(proto, chosen, inline_schema_functions=True)


def _refuse(missing: dict[str, list[str]]) -> None:
    loops = {name: missing[name] for name in _LOOPS if name in missing}
    if loops:
        raise Unsupported(
            f"the graph holds {_listed(loops)}, whose way depends on the data: a program for a "
            "TPU has one way for all, so export the model without control flow"
        )
    if missing:
        raise Unsupported(
            f"there are no words for a TPU for {_listed(missing)}: write the layers in other "
            "operators, or leave the target tpu out for this model"
        )


def _listed(missing: dict[str, list[str]]) -> str:
    parts = []
    for name, layers in sorted(missing.items()):
        more = f" and {len(layers) - _FEW} more" if len(layers) > _FEW else ""
        what = "layer" if len(layers) == 1 else "layers"
        parts.append(f"{name} ({what} {', '.join(map(repr, layers[:_FEW]))}{more})")
    return ", ".join(parts)
