"""Finds the small arithmetic of a graph that must not be rounded to 8 bits."""

from __future__ import annotations

from typing import Any

MAGNIFYING = {
    *("Div", "Exp", "Log", "Mul", "Pow", "Reciprocal", "Sqrt", "Sub"),
    *("Max", "Min", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"),
    *("ReduceSumSquare", "CumSum", "Sigmoid", "Softmax", "TopK", "Where"),
    *("InstanceNormalization", "LayerNormalization"),
}
"""Normalizations, activations and attention written out: they cost little next to the products
around them, and one step in 256 of a variance, a mask or an exponent is soon all of the answer."""
MOVING = {"Cast", "Expand", "Flatten", "Identity", "Reshape", "Slice", "Squeeze"} | {
    "Transpose",
    "Unsqueeze",
}
"""Operators that leave values as they are."""


def names(proto: Any) -> set[str]:
    """The nodes of MAGNIFYING, and sums of what they give: an epsilon, a mask, a polynomial."""
    makers = {output: node for node in proto.graph.node for output in node.output}

    def is_magnified(tensor: str) -> bool:
        while tensor in makers and makers[tensor].op_type in MOVING:
            tensor = makers[tensor].input[0]
        return tensor in makers and makers[tensor].op_type in MAGNIFYING

    return {
        node.name
        for node in proto.graph.node
        if node.op_type in MAGNIFYING
        or (node.op_type == "Add" and any(is_magnified(tensor) for tensor in node.input))
    }
