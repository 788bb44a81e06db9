"""Tells what of an ONNX graph is quantized, and refuses weights and scales that are not finite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from model_repo.errors import BadInput


def kinds(graph: Any) -> Iterator[str]:
    """The operator of each node, those of inner graphs among them."""
    for node in graph.node:
        yield node.op_type
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from kinds(attribute.g)


def quantizing(graph: Any) -> Counter[str]:
    """How often each operator that computes in integers, or leads there, stands in a graph."""
    return Counter(
        kind
        for kind in kinds(graph)
        if "quant" in kind.lower() or "Integer" in kind or kind.startswith("QLinear")
    )


def check_unquantized(proto: Any) -> None:
    """Raise BadInput if `proto` is quantized already, or has a weight that is not a number."""
    from onnx import numpy_helper

    if found := quantizing(proto.graph):
        raise BadInput(
            f"quantize: the graph holds quantized operators already ({', '.join(sorted(found))}): "
            "start from the one in floating point"
        )
    for item in proto.graph.initializer:
        array = numpy_helper.to_array(item)
        # Infinity is let through: masks are made of it.
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise BadInput(
                f"quantize: the weight {item.name!r} holds NaN: train the model again, or export "
                "it from a sound checkpoint"
            )


def check_scales(proto: Any) -> None:
    """Raise BadInput if a scale is no finite number above 0, as ranges that hold NaN leave it."""
    from onnx import numpy_helper

    arrays = {item.name: item for item in proto.graph.initializer}
    for node in proto.graph.node:
        if (
            node.op_type not in ("QuantizeLinear", "DequantizeLinear")
            or node.input[1] not in arrays
        ):
            continue
        scale = numpy_helper.to_array(arrays[node.input[1]])
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            raise BadInput(
                f"quantize: the values that {node.name!r} saw on the calibration rows have no "
                "finite range: look for NaN, infinity and huge numbers in the rows"
            )
