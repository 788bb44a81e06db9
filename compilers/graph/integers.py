"""Tells what of an ONNX graph is quantized, and refuses weights and scales that are not finite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from model_repo.errors import BadInput

PRODUCTS = {"Attention", "Conv", "ConvTranspose", "Gemm", "GRU", "LSTM", "MatMul", "RNN"}
"""What fewer bits make cheaper; around anything else they only add conversions."""
WIDTHS = {"FLOAT": "FP32", "FLOAT16": "FP16", "BFLOAT16": "BF16", "DOUBLE": "FP64"}


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


def check_unquantized(proto: Any, taker: str) -> None:
    """Raise BadInput if `proto` is quantized already, or has a weight that is not a number.

    taker: the pass that the sentence names.
    """
    from onnx import numpy_helper

    if found := quantizing(proto.graph):
        raise BadInput(
            f"{taker}: the graph holds quantized operators already ({', '.join(sorted(found))}): "
            "start from the one in floating point"
        )
    for item in proto.graph.initializer:
        array = numpy_helper.to_array(item)
        # Infinity is let through: masks are made of it.
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise BadInput(
                f"{taker}: the weight {item.name!r} holds NaN: train the model again, or export "
                "it from a sound checkpoint"
            )


def check_float32(proto: Any, mode: str) -> None:
    """Raise BadInput if all weights of products are of another width: no mode rounds those."""
    from onnx import TensorProto

    widths = {
        TensorProto.DataType.Name(width) for width in _product_weights(proto.graph, {})
    } & WIDTHS.keys()
    if widths and "FLOAT" not in widths:
        raise BadInput(
            f"quantize: mode {mode} takes FP32 weights, and those of this model are "
            f"{', '.join(WIDTHS[name] for name in sorted(widths))}: start from its FP32 export"
        )


def _product_weights(graph: Any, outer: Mapping[str, int]) -> Iterator[int]:
    """The element type of each constant that a product reads, those of inner graphs among them."""
    known = {**outer, **{item.name: item.data_type for item in graph.initializer}}
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                known[node.output[0]] = attribute.t.data_type
            if attribute.HasField("g"):
                yield from _product_weights(attribute.g, known)
        if node.op_type in PRODUCTS:
            yield from (known[name] for name in node.input if name in known)


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
