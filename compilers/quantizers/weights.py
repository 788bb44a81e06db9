"""Keep weights in 8 or 4 bits and compute in floating point: for size, not for speed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from compilers import affine
from compilers.contracts import Work
from compilers.graph import graphs, opsets
from compilers.sensitivity import layers
from compilers.sensitivity.layers import Layer
from model_repo.tensors import Array

if TYPE_CHECKING:
    from compilers.passes.quantize import Options

OPTIONS = {"bits", "skip", "spare"}
LEAST = 1024
"""Numbers in a weight: a smaller one is not worth its scales."""
BLOCK = 32
"""Inputs of a product that share a scale in 4 bits, where one for each channel is too coarse."""
INT4_OPSET, INT4_IR = 21, 10


def quantize(proto: Any, options: Options, kept: Collection[str], work: Work) -> Any:
    """Each weight becomes signed integers, symmetric (see `affine`), and a DequantizeLinear.

    In 8 bits with one scale for each output channel, or row of a table. In 4 bits matrices have
    one for each output channel and BLOCK inputs; convolutions and tables stay at 8 bits.
    """
    if options.bits == 4:
        proto = opsets.raised(proto, INT4_OPSET, "4-bit weights need")
        proto.ir_version = max(proto.ir_version, INT4_IR)
    found = {each.name: each for each in layers.find(proto) if each.weight.size >= LEAST}
    tables = _tables(proto.graph)
    nodes: list[Any] = []
    shelf = _Constants(proto.graph)
    for node in proto.graph.node:
        layer, table = found.get(node.name), tables.get(node.name)
        if layer is not None and node.name not in kept:
            nodes.extend(_weigh(node, layer, options.bits, shelf))
        elif table is not None and node.name not in kept:
            nodes.extend(_look_up(node, table, shelf))
        else:
            nodes.append(node)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    graphs.drop_unused(proto.graph)
    return proto


@dataclass
class _Constants:
    """Adds integers and their scales to a graph; a weight that several nodes share, once."""

    graph: Any
    added: set[str] = field(default_factory=set)

    def add(self, name: str, integers: Array, scale: Array, *, is_int4: bool = False) -> bool:
        """Whether they were not there yet; the scales are called NAME/scale."""
        from onnx import TensorProto, helper, numpy_helper

        if name in self.added:
            return False
        self.added.add(name)
        if is_int4:
            made = helper.make_tensor(name, TensorProto.INT4, integers.shape, integers.ravel())
        else:
            made = numpy_helper.from_array(integers, name)
        self.graph.initializer.extend([made, numpy_helper.from_array(scale, f"{name}/scale")])
        return True


def _weigh(node: Any, layer: Layer, bits: int, shelf: _Constants) -> Iterator[Any]:
    """The nodes in place of one that multiplies with a weight."""
    from onnx import helper

    deep = 1 - layer.axis  # the axis of a matrix that a product sums over
    is_int4 = bits == 4 and layer.weight.ndim == 2 and layer.weight.shape[deep] % BLOCK == 0
    name = f"{layer.inputs[1]}/int{4 if is_int4 else 8}/{layer.axis}"
    told: dict[str, Any] = {"axis": deep, "block_size": BLOCK} if is_int4 else {"axis": layer.axis}
    pair = _blocks(layer.weight, deep) if is_int4 else _rounded(layer.weight, layer.axis)
    if shelf.add(name, *pair, is_int4=is_int4):
        inputs, outputs = [name, f"{name}/scale"], [f"{name}/float"]
        yield helper.make_node("DequantizeLinear", inputs, outputs, f"{name}/read", **told)
    node.input[1] = f"{name}/float"
    yield node


def _rounded(weight: Array, axis: int) -> tuple[Array, Array]:
    """S8 integers, and the scale of each slice along `axis`."""
    scale, zero = affine.scale_and_zero_point(
        *affine.range_of(weight, axis), 8, signed=True, symmetric=True
    )
    return affine.quantize(weight, scale, zero, 8, signed=True), scale.ravel()


def _blocks(weight: Array, deep: int) -> tuple[Array, Array]:
    """S4 integers of a matrix, and a scale for each BLOCK of them along the axis `deep`."""
    parts = weight.shape[deep] // BLOCK
    cut = weight.reshape((parts, BLOCK, -1) if deep == 0 else (-1, parts, BLOCK))
    low, high = cut.min(axis=deep + 1, keepdims=True), cut.max(axis=deep + 1, keepdims=True)
    scale, zero = affine.scale_and_zero_point(low, high, 4, signed=True, symmetric=True)
    integers = affine.quantize(cut, scale, zero, 4, signed=True)
    return integers.reshape(weight.shape), scale.squeeze(deep + 1)


def _tables(graph: Any) -> dict[str, Array]:
    """What nodes look up rows in, by the node's name."""
    from onnx import numpy_helper

    arrays = {item.name: item for item in graph.initializer}
    found = {}
    for node in graph.node:
        is_by_row = all(a.i == 0 for a in node.attribute if a.name == "axis")
        if node.op_type == "Gather" and is_by_row and node.input[0] in arrays:
            table = numpy_helper.to_array(arrays[node.input[0]])
            if table.dtype == np.float32 and table.ndim == 2 and table.size >= LEAST:
                found[node.name] = table
    return found


def _look_up(node: Any, table: Array, shelf: _Constants) -> Iterator[Any]:
    """Look up integers and their scales: a DequantizeLinear would convert the whole table."""
    from onnx import TensorProto, helper

    name, rows, answer = f"{node.input[0]}/int8/rows", node.input[1], node.output[0]
    integers, scale = _rounded(table, 0)
    shelf.add(name, integers, scale[:, np.newaxis])
    parts = {"Gather": (name, "rows"), "Scale": (f"{name}/scale", "scale")}
    for what, (source, tag) in parts.items():
        yield helper.make_node("Gather", [source, rows], [f"{answer}/{tag}"], f"{node.name}/{what}")
    cast = f"{answer}/float"
    yield helper.make_node(
        "Cast", [f"{answer}/rows"], [cast], f"{node.name}/Cast", to=TensorProto.FLOAT
    )
    yield helper.make_node("Mul", [cast, f"{answer}/scale"], [answer], node.name)
