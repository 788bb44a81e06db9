"""Names the first node of an ONNX graph that TensorRT's parser would refuse, and says why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from model_repo.errors import Unsupported
from model_repo.records import Model

INTEGER = {"ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul"}
WITHOUT = {
    *("BitShift", "Compress", "DFT", "Det", "MaxRoiPool", "MaxUnpool", "Multinomial", "Unique"),
    *("ConcatFromSequence", "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase"),
    *("SequenceInsert", "SequenceLength", "SplitToSequence", "StringNormalizer", "TfIdfVectorizer"),
}
"""Operators that TensorRT has none of: docs/operators.md of its ONNX parser, and DFT as seen."""
DATATYPES = {"BOOL", "INT8", "INT32", "INT64", "UINT8", "FP16", "BF16", "FP32"}


def check(proto: Any, signature: Model) -> None:
    """Raise Unsupported for what TensorRT's parser takes in no version that was tried.

    The parser's own words stand behind each of these, as that of TensorRT for RTX gave them.
    """
    for spec in (*signature.inputs, *signature.outputs):
        if spec.datatype not in DATATYPES:
            raise Unsupported(
                f"TensorRT takes no {spec.datatype} tensors, and {spec.name!r} is one: keep that "
                "model on a CPU"
            )
    constants: dict[str, Any] = {item.name: item for item in proto.graph.initializer}
    for node in _nodes(proto.graph):
        if reason := _reason(node, constants):
            raise Unsupported(
                f"TensorRT does not take the node {node.name or node.output[0]!r} "
                f"({node.op_type}): {reason}"
            )


def _nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _reason(node: Any, constants: Mapping[str, Any]) -> str:
    """Why TensorRT refuses a node; "" if it does not."""
    if node.domain not in ("", "ai.onnx"):
        return f"it is no standard operator but one of {node.domain}; use quantize in mode fp16"
    if node.op_type in WITHOUT:
        return "it has no such operator; keep that model on a CPU"
    if node.op_type in INTEGER:
        return "it wants int8 as pairs of QuantizeLinear and DequantizeLinear; use mode symmetric"
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return _badly_rounded(node, constants)
    return ""


def _badly_rounded(node: Any, constants: Mapping[str, Any]) -> str:
    """Why TensorRT refuses a change from or to integers: it wants S8 with zero points 0."""
    import numpy as np
    from onnx import TensorProto, numpy_helper

    use = "use quantize in mode symmetric"
    held = constants.get(node.input[0])
    if held is not None and held.data_type == TensorProto.INT32:
        return f"it reads a bias in int32, and biases must stay in floating point; {use}"
    if len(node.input) < 3:
        unsigned = node.op_type == "QuantizeLinear"  # whose integers are unsigned unless told so
        return f"its integers are unsigned, and must be signed; {use}" if unsigned else ""
    zero = constants.get(node.input[2])
    if zero is None:
        return f"its zero point is computed, and must be 0; {use}"
    if zero.data_type in (TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT4):
        return f"its integers are unsigned, and must be signed; {use}"
    if np.any(numpy_helper.to_array(zero).astype(np.int32)):
        return f"its zero point is not 0; {use}"
    return ""
