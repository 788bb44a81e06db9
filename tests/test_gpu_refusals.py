"""What TensorRT's parser refuses is refused before it, by the same rule, with the node's name."""

from __future__ import annotations

from typing import Any

import gpu_models
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compilers.gpu import refusals
from model_repo.errors import Unsupported
from model_repo.records import Model, TensorSpec

X, Y = ("x", TensorProto.FLOAT, ["n", 8]), ("y", TensorProto.FLOAT, ["n", 4])
SIGNATURE = Model(
    "m", "1", (TensorSpec("x", "FP32", (-1, 8)),), (TensorSpec("y", "FP32", (-1, 4)),), True
)


def graph(nodes: list[Any], weights: dict[str, Any], *domains: str) -> Any:
    made = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(*X)],
        [helper.make_tensor_value_info(*Y)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 19), *(helper.make_opsetid(name, 1) for name in domains)]
    return helper.make_model(made, opset_imports=opsets, ir_version=9)


def rounded(zero: Any, *, bias: bool = False) -> Any:
    """A product of a rounded input and a rounded weight; the input's zero point is given."""
    node = helper.make_node
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"], "Q"),
        node("DequantizeLinear", ["q", "s", "z"], ["d"], "D"),
        node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], "W", axis=1),
        node("MatMul", ["d", "wd"], ["m" if bias else "y"], "product"),
    ]
    weights = {
        "s": np.float32(0.1),
        "z": np.array(zero),
        "w": np.ones((8, 4), np.int8),
        "ws": np.full(4, 0.01, np.float32),
        "wz": np.zeros(4, np.int8),
    }
    if bias:
        nodes += [
            node("DequantizeLinear", ["b", "ws", "bz"], ["bd"], "B", axis=0),
            node("Add", ["m", "bd"], ["y"], "add"),
        ]
        weights |= {"b": np.zeros(4, np.int32), "bz": np.zeros(4, np.int32)}
    return graph(nodes, weights)


def integer() -> Any:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], "dynamic"),
        helper.make_node("MatMulInteger", ["q", "w", "z"], ["i"], "whole"),
        helper.make_node("Cast", ["i"], ["y"], "cast", to=TensorProto.FLOAT),
    ]
    return graph(nodes, {"w": np.ones((8, 4), np.int8)})


def foreign() -> Any:
    node = helper.make_node(
        *("MatMulNBits", ["x", "w", "s"], ["y"], "packed"),
        domain="com.microsoft",
        K=8,
        N=4,
        bits=4,
        block_size=16,
    )
    weights = {"w": np.zeros((4, 1, 8), np.uint8), "s": np.ones(4, np.float32)}
    return graph([node], weights, "com.microsoft")


def fourier() -> Any:
    nodes = [
        helper.make_node("Unsqueeze", ["x", "last"], ["u"], "wide"),
        helper.make_node("DFT", ["u"], ["f"], "spectrum", axis=1),
        helper.make_node("Slice", ["f", "from", "to", "axes"], ["cut"], "cut"),
        helper.make_node("Squeeze", ["cut", "last"], ["y"], "flat"),
    ]
    last = np.array([2], np.int64)
    places = {"from": [0, 0], "to": [4, 1], "axes": [1, 2]}
    arrays = {name: np.array(value, np.int64) for name, value in places.items()}
    return graph(nodes, {"last": last, **arrays})


REFUSED = [
    (fourier(), r"'spectrum' \(DFT\): it has no such operator; keep that model on a CPU"),
    (rounded(np.uint8(128)), "'Q' .*unsigned, and must be signed; use quantize in mode symmetric"),
    (rounded(np.int8(3)), r"'Q' \(QuantizeLinear\): its zero point is not 0"),
    (rounded(np.int8(0), bias=True), "'B' .*biases must stay in floating point"),
    (integer(), "'dynamic' .*pairs of QuantizeLinear"),
    (foreign(), "'packed' .*no standard operator but one of com.microsoft"),
]


@pytest.mark.parametrize(("proto", "reason"), REFUSED)
def test_names_the_node_and_says_why(proto: Any, reason: str) -> None:
    onnx.checker.check_model(proto)
    with pytest.raises(Unsupported, match=reason):
        refusals.check(proto, SIGNATURE)


@pytest.mark.parametrize("proto", [proto for proto, _ in REFUSED])
def test_the_parser_itself_refuses_the_same(proto: Any) -> None:
    library = pytest.importorskip("tensorrt_rtx", reason="farebox[gpu] is not installed")
    from model_repo import tensorrt_building

    log = tensorrt_building.logger(library)
    builder = library.Builder(log)
    with pytest.raises(Unsupported, match=r"tensorrt_rtx .* does not take the node"):
        tensorrt_building.read(library, builder, proto.SerializeToString(), log)


def test_what_is_signed_and_symmetric_is_let_through(tmp_path: Any) -> None:
    refusals.check(rounded(np.int8(0)), SIGNATURE)
    refusals.check(gpu_models.cnn(tmp_path), gpu_models.CNN)


def test_an_inner_graph_is_looked_through() -> None:
    body = helper.make_graph(
        [helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], "inner")],
        "body",
        [],
        [helper.make_tensor_value_info("s", TensorProto.FLOAT, [])],
    )
    node = helper.make_node("If", ["go"], ["y"], "if", then_branch=body, else_branch=body)
    with pytest.raises(Unsupported, match="'inner'"):
        refusals.check(graph([node], {"go": np.array(True)}), SIGNATURE)


def test_tensors_of_strings_are_refused() -> None:
    words = Model("m", "1", (TensorSpec("text", "BYTES", (-1, 1)),), SIGNATURE.outputs, True)
    with pytest.raises(Unsupported, match="no BYTES tensors, and 'text' is one"):
        refusals.check(rounded(np.int8(0)), words)
