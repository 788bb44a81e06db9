"""Signed and unsigned activations hold the same values, whichever way they are moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto
from onnx_files import FLOAT, node, write

from compilers.graph import signs


def graph(folder: Path, zero: Any) -> Any:
    """Two activations with zero points of one type, and a weight in S8."""
    path = write(
        folder / "m.onnx",
        [
            node("QuantizeLinear", "x s z", "q"),
            node("DequantizeLinear", "q s z", "d"),
            node("DequantizeLinear", "w s none", "v"),
            node("MatMul", "d v", "h"),
            node("QuantizeLinear", "h s z", "hq"),
            node("DequantizeLinear", "hq s z", "y"),
        ],
        [("x", FLOAT, ["n", 4])],
        [("y", FLOAT, ["n", 3])],
        {
            "s": np.float32(0.05),
            "z": zero,
            "w": np.random.default_rng(0).integers(-127, 128, (4, 3)).astype(np.int8),
            "none": np.int8(0),
        },
    )
    return onnx.load(path)


def answers(proto: Any) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    rows = np.random.default_rng(1).uniform(-9, 9, (500, 4)).astype(np.float32)
    found: np.ndarray = session.run(None, {"x": rows})[0]
    return found


def types(proto: Any) -> set[int]:
    kinds = {item.name: item.data_type for item in proto.graph.initializer}
    return {kinds[n.input[2]] for n in proto.graph.node if n.op_type == "QuantizeLinear"}


@pytest.mark.parametrize("zero", [0, -7])
def test_unsigned_is_the_same_bit_for_bit(zero: int, tmp_path: Path) -> None:
    proto = graph(tmp_path, np.int8(zero))
    before = answers(proto)
    made = signs.unsigned(proto)
    assert types(made) == {TensorProto.UINT8}
    assert "w" in {i.name for i in made.graph.initializer if i.data_type == TensorProto.INT8}
    np.testing.assert_array_equal(answers(made), before)
    onnx.checker.check_model(made, full_check=True)


def test_signed_takes_it_back_where_zero_stays_in_the_middle(tmp_path: Path) -> None:
    proto = graph(tmp_path, np.uint8(128))
    before = answers(proto)
    made = signs.signed(proto)
    assert types(made) == {TensorProto.INT8}
    np.testing.assert_array_equal(answers(made), before)
    (tmp_path / "b").mkdir()
    assert types(signs.signed(graph(tmp_path / "b", np.uint8(7)))) == {TensorProto.UINT8}
