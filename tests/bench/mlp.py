"""The model of the gateway bench: a 64-256-256-10 MLP with fixed random weights, as ONNX."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZES = (64, 256, 256, 10)
NAME = "mlp"


def write(path: Path) -> None:
    """Write the model to `path`."""
    draw = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for i, (rows, columns) in enumerate(itertools.pairwise(SIZES)):
        matrix = (draw.standard_normal((rows, columns)) / np.sqrt(rows)).astype(np.float32)
        weights += [
            numpy_helper.from_array(matrix, f"w{i}"),
            numpy_helper.from_array(np.zeros(columns, np.float32), f"b{i}"),
        ]
        out = "y" if i == len(SIZES) - 2 else f"h{i}"
        nodes.append(
            helper.make_node("Gemm", [last, f"w{i}", f"b{i}"], [out if out == "y" else f"g{i}"])
        )
        if out != "y":
            nodes.append(helper.make_node("Relu", [f"g{i}"], [out]))
        last = out
    graph = helper.make_graph(
        nodes,
        NAME,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", SIZES[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", SIZES[-1]])],
        weights,
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path
    )
