"""Raises a graph to a later version of the standard operators."""

from __future__ import annotations

from typing import Any

from model_repo.errors import BadInput


def raised(proto: Any, least: int, why: str) -> Any:
    """`proto` at opset `least` or later; raises BadInput if it cannot be raised to what `why` says.

    What is there already, or names no standard opset, comes back as it is.
    """
    from onnx import version_converter

    given = max((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if not given or given >= least:
        return proto
    try:
        return version_converter.convert_version(proto, least)
    except Exception as error:  # the converter raises anything on operators it does not know
        reason = " ".join(str(error).split())[:200]
        raise BadInput(
            f"it cannot be raised from opset {given} to {least}, which {why}: {reason}"
        ) from error
