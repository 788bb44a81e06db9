"""The nodes of an ONNX graph that multiply with a constant weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from model_repo.tensors import Array


@dataclass(frozen=True)
class Layer:
    """A node by its name and place in the graph; axis: of the weight's output channels.

    title: the layer's name in the network it came from, where the graph tells; else the node's.
    """

    name: str
    title: str
    place: int
    inputs: tuple[str, ...]
    weight: Array
    axis: int


def find(model: Any) -> list[Layer]:
    """The named nodes that multiply with a constant FP32 weight, in the order of the graph."""
    from onnx import numpy_helper

    constants = {item.name: item for item in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    biases = _biases(model.graph)
    found: list[Layer] = []
    for place, node in enumerate(model.graph.node):
        axis = _output_axis(node)
        if axis is None or not node.name or node.input[1] not in constants:
            continue
        weight = numpy_helper.to_array(constants[node.input[1]])
        if weight.dtype == np.float32 and weight.ndim > 1:
            title = _title(node, biases, {layer.title for layer in found})
            inputs = tuple(node.input)
            found.append(Layer(node.name, title, place, inputs, weight, axis % weight.ndim))
    return found


def _biases(graph: Any) -> dict[str, str]:
    """Tensor -> the constant that a node adds to it, which is how linear layers are exported."""
    constants = {item.name for item in graph.initializer}
    found = {}
    for node in graph.node:
        if node.op_type == "Add":
            for one, other in (tuple(node.input), tuple(node.input)[::-1]):
                if other in constants:
                    found[one] = other
    return found


def _title(node: Any, biases: dict[str, str], taken: set[str]) -> str:
    names: tuple[str, ...] = (node.input[1], biases.get(node.output[0], ""), *node.input[2:])
    for name in names:
        path, _, part = name.rpartition(".")
        if path and part in ("weight", "bias") and path not in taken:
            return path
    return str(node.name)


def _output_axis(node: Any) -> int | None:
    """The axis of a weight along which its outputs lie; None for a node without weights."""
    if node.op_type == "Gemm":
        return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
    return {"Conv": 0, "ConvTranspose": 1, "MatMul": -1}.get(node.op_type)
