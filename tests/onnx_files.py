"""Build small ONNX files for the tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str | None]
Port = tuple[str, int, Shape]
FLOAT = TensorProto.FLOAT


def write(
    path: Path,
    nodes: Sequence[Any],
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    weights: dict[str, Any] | None = None,
    opset: int = 17,
    **options: Any,
) -> Path:
    """Save a checked model whose ports are (name, element type, shape)."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(*port) for port in inputs],
        [helper.make_tensor_value_info(*port) for port in outputs],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in (weights or {}).items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 18 else 10
    )
    onnx.checker.check_model(model)
    onnx.save(model, path, **options)
    return path


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    """One node; names are parted by spaces."""
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def linear(path: Path, columns: int = 4, classes: int = 3, rows: Any = "n", seed: int = 0) -> Path:
    """x [rows, columns] -> softmax scores y [rows, classes]."""
    rng = np.random.default_rng(seed)
    return write(
        path,
        [node("MatMul", "x w", "h"), node("Softmax", "h", "y", axis=-1)],
        [("x", FLOAT, [rows, columns])],
        [("y", FLOAT, [rows, classes])],
        {"w": rng.standard_normal((columns, classes)).astype(np.float32)},
    )


def endless(path: Path) -> Path:
    """x [n, 4] -> y [n, 4], by a loop that never ends."""
    body = helper.make_graph(
        [node("Identity", "go_in", "go_out"), node("Identity", "v", "w")],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", FLOAT, ["n", 4]),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", FLOAT, ["n", 4]),
        ],
    )
    made = helper.make_node("Loop", ["", "go", "x"], ["y"], body=body)
    return write(
        path, [made], [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])], {"go": np.array(True)}
    )
