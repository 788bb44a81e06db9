"""ONNX graphs become programs: the batch stays free, int8 stays exact, and gaps are named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_files
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from onnx_files import FLOAT, node

pytest.importorskip("jax", reason="the extra tpu is not installed")

from compilers.graph import graphs
from compilers.tpu import program
from compilers.tpu.onnx import coverage, graph
from model_repo.errors import BadInput, Unsupported
from model_repo.records import Model, TensorSpec
from model_repo.runtimes import stablehlo
from model_repo.tensors import Array

ROWS = np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32)
NAMES = {FLOAT: "FP32", TensorProto.INT64: "INT64", TensorProto.UINT8: "UINT8"}


def made(
    folder: Path,
    nodes: list[Any],
    weights: dict[str, Any] | None = None,
    shape: tuple[int, ...] = (6,),
    gives: tuple[int, int] = (FLOAT, 2),
    opset: int = 18,
) -> Any:
    """x [n, *shape] -> y, of gives: an element type and a rank."""
    port = ("y", gives[0], ["n", *(None for _ in range(gives[1] - 1))])
    inputs = [("x", FLOAT, ["n", *shape])]
    return onnx.load(
        onnx_files.write(folder / "m.onnx", nodes, inputs, [port], weights, opset=opset)
    )


def answers(proto: Any, rows: Array, folder: Path) -> Array:
    """What the program answers, batch 1 checked to be the first row of the batch given."""
    (output,) = proto.graph.output
    element = output.type.tensor_type
    rank = len(element.shape.dim)
    model = Model(
        "m",
        "1",
        (TensorSpec("x", "FP32", (-1, *rows.shape[1:])),),
        (TensorSpec("y", NAMES[element.elem_type], (-1,) * rank),),
        True,
    )
    path = folder / program.FILE
    function = graph.to_function(proto, model)
    whole = Model("m", "1", model.inputs, (_shaped(proto, rows, model.outputs[0]),), True)
    program.write(function, whole, path)
    session = stablehlo.open_session(path, whole)
    found = session.run({"x": rows})[0]["y"]
    assert session.run({"x": rows[:1]})[0]["y"] == pytest.approx(found[:1], abs=1e-2)
    return found


def _shaped(proto: Any, rows: Array, spec: TensorSpec) -> TensorSpec:
    wanted = reference(proto, rows)
    return TensorSpec(spec.name, spec.datatype, (-1, *wanted.shape[1:]))


def reference(proto: Any, rows: Array) -> Array:
    found: Array = ReferenceEvaluator(proto).run(None, {"x": rows})[0]
    return found


def test_shapes_that_hold_the_batch_lead_to_reshape_and_expand(tmp_path: Path) -> None:
    nodes = [
        node("Shape", "x", "sizes"),
        node("Gather", "sizes zero", "n"),
        node("Unsqueeze", "n front", "n1"),
        node("Mul", "n1 two", "twice"),
        node("Concat", "twice three", "shape", axis=0),
        node("Reshape", "x shape", "parts"),  # [2 n, 3]
        node("Concat", "n1 minus six", "wanted", axis=0),
        node("Equal", "wanted minus", "is_minus"),
        node("Where", "is_minus one1 wanted", "grown"),  # as exporters write Expand
        node("Reshape", "parts back", "middle"),  # [n, 1, 6]
        node("Expand", "middle grown", "y"),
    ]
    weights = {
        **{"zero": np.array(0), "front": np.array([0]), "two": np.array([2])},
        **{"three": np.array([3]), "minus": np.array([-1]), "six": np.array([6])},
        **{"one1": np.array([1]), "back": np.array([-1, 1, 6])},
    }
    proto = made(tmp_path, nodes, weights, gives=(FLOAT, 3))
    assert (answers(proto, ROWS, tmp_path) == reference(proto, ROWS)).all()


def test_the_batch_may_be_computed_with(tmp_path: Path) -> None:
    nodes = [
        node("Shape", "x", "sizes", end=1),
        node("Cast", "sizes", "n", to=FLOAT),
        node("ReduceSum", "x all", "total", keepdims=1),
        node("Div", "total n", "mean"),
        node("Sub", "x mean", "y"),
    ]
    proto = made(tmp_path, nodes, {"all": np.array([0, 1])})
    function = graph.to_function(proto, signature())
    program.write(function, signature(), tmp_path / program.FILE)
    session = stablehlo.open_session(tmp_path / program.FILE, signature())
    for size in (1, 3, 5):
        found = session.run({"x": ROWS[:size]})[0]["y"]
        assert found == pytest.approx(reference(proto, ROWS[:size]), abs=1e-5)


def signature() -> Model:
    specs = (TensorSpec("x", "FP32", (-1, 6)),), (TensorSpec("y", "FP32", (-1, 6)),)
    return Model("m", "1", *specs, True)


@pytest.mark.parametrize("zero", [0, 37, 255])
@pytest.mark.parametrize("groups", [1, 2])
def test_quantized_convolutions_are_exact_with_any_zero_point(
    zero: int, groups: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(zero)
    nodes = [
        node("QuantizeLinear", "x xs xz", "xq"),
        node("DequantizeLinear", "xq xs xz", "xf"),
        node("DequantizeLinear", "w ws", "wf", axis=0),
        node("Conv", "xf wf bias", "h", pads=[1, 2, 0, 1], strides=[2, 1], group=groups),
        node("QuantizeLinear", "h hs hz", "hq"),
        node("DequantizeLinear", "hq hs hz", "y"),
    ]
    weights = {
        **{"xs": np.float32(0.05), "xz": np.uint8(zero)},
        "w": rng.integers(-127, 128, (4, 4 // groups, 3, 3)).astype(np.int8),
        "ws": (2.0 ** -rng.integers(6, 9, 4)).astype(np.float32),
        "bias": rng.standard_normal(4).astype(np.float32),
        **{"hs": np.float32(0.25), "hz": np.int8(-3)},
    }
    proto = made(tmp_path, nodes, weights, (4, 7, 6), (FLOAT, 4), opset=19)
    rows = rng.standard_normal((3, 4, 7, 6)).astype(np.float32)
    gap = np.abs(answers(proto, rows, tmp_path) - reference(proto, rows))
    # A tie may round to either side where sums are taken in another order.
    assert gap.max() <= 0.25 and (gap > 0).mean() < 0.01


def test_quantized_products_are_computed_in_int8(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nodes = [
        node("QuantizeLinear", "x xs xz", "xq"),
        node("DequantizeLinear", "xq xs xz", "xf"),
        node("DequantizeLinear", "w ws", "wf", axis=1),
        node("MatMul", "xf wf", "h"),
        node("DequantizeLinear", "v vs", "vf", axis=0),
        node("Gemm", "xf vf", "g", transB=1, alpha=0.5),
        node("Add", "h g", "y"),
    ]
    weights = {
        **{"xs": np.float32(0.125), "xz": np.uint8(99)},
        "w": rng.integers(-127, 128, (6, 3)).astype(np.int8),
        "ws": np.array([0.5, 0.25, 0.125], np.float32),
        "v": rng.integers(-127, 128, (3, 6)).astype(np.int8),
        "vs": np.array([0.5, 0.25, 1], np.float32),
    }
    proto = made(tmp_path, nodes, weights, opset=19)
    # Every scale is a power of two, so that fp32 is exact as well.
    assert (answers(proto, ROWS, tmp_path) == reference(proto, ROWS)).all()
    text = exported(tmp_path).mlir_module()
    whole = re.findall(r"= stablehlo.dot_general .*xi8>\) -> tensor<\S*xi32>", text)
    # Twice for each platform: jax writes these apart.
    assert "HIGHEST" not in text  # one pass is exact
    assert len(whole) == text.count("= stablehlo.dot_general") == 2 * len(program.PLATFORMS)


def exported(folder: Path) -> Any:
    from model_repo.jax_loading import load_jax

    blob = bytearray((folder / program.FILE).read_bytes())
    return load_jax().export.deserialize(blob)


def test_bf16_takes_and_gives_fp32_and_keeps_masks_finite(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", "x w", "h"),
        node("Mul", "none mask", "masked"),  # 0 x the least number: NaN were it infinite
        node("Add", "h masked", "sum"),
        node("Softmax", "sum", "y", axis=-1),
    ]
    weights = {
        "w": np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32),
        "none": np.zeros((1, 4), np.float32),
        "mask": np.full((1, 4), np.finfo(np.float32).min),
    }
    proto = made(tmp_path, nodes, weights)
    wanted = reference(proto, ROWS)
    proto.metadata_props.add(key=graphs.PRECISION, value="bf16")
    found = answers(proto, ROWS, tmp_path)
    assert found.dtype == np.float32
    assert np.abs(found - wanted).max() < 0.02
    assert not (found == wanted).all()
    text = exported(tmp_path).mlir_module()
    # Whoever asked for six passes would pay for them without a bit more.
    assert "xbf16>, tensor<6x4xbf16>) -> tensor<" in text and "HIGHEST" not in text


def test_what_onnx_defines_by_other_operators_is_written_in_those(tmp_path: Path) -> None:
    proto = made(tmp_path, [node("MeanVarianceNormalization", "x", "y", axes=[1])])
    assert "MeanVarianceNormalization" not in graph.operators()
    assert answers(proto, ROWS, tmp_path) == pytest.approx(reference(proto, ROWS), abs=1e-5)


def test_functions_of_the_model_are_written_out(tmp_path: Path) -> None:
    proto = made(tmp_path, [node("Neg", "x", "y")])
    twice = helper.make_function(
        "mine", "Twice", ["a"], ["b"], [node("Add", "a a", "b")], [helper.make_opsetid("", 18)]
    )
    proto.functions.append(twice)
    proto.opset_import.append(helper.make_opsetid("mine", 1))
    proto.graph.node[0].CopyFrom(helper.make_node("Twice", ["x"], ["y"], domain="mine"))
    assert (answers(proto, ROWS, tmp_path) == ROWS * 2).all()


def test_an_old_graph_is_raised(tmp_path: Path) -> None:
    proto = made(tmp_path, [node("Squeeze", "x", "y", axes=[1])], None, (1, 6), opset=11)
    rows = ROWS[:, None]
    assert (answers(proto, rows, tmp_path) == ROWS).all()


def test_all_that_is_missing_is_named_at_once_with_its_layers(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Det", ["m"], ["d"], name="first"),
        helper.make_node("Unique", ["d"], ["u"], name="second"),
        helper.make_node("Add", ["x", "u"], ["y"]),
    ]
    proto = made(tmp_path, nodes, {"m": np.eye(3, dtype=np.float32)[None]})
    with pytest.raises(Unsupported, match=r"Det \(layer 'first'\), Unique \(layer 'second'\)"):
        graph.to_function(proto, signature())


def test_control_flow_is_refused_as_such(tmp_path: Path) -> None:
    port = helper.make_tensor_value_info("t", FLOAT, None)
    branch = helper.make_graph([node("Neg", "x", "t")], "branch", [], [port])
    choice = helper.make_node(
        "If", ["yes"], ["y"], name="fork", then_branch=branch, else_branch=branch
    )
    proto = made(tmp_path, [choice], {"yes": np.array(True)})
    with pytest.raises(Unsupported, match=r"If \(layer 'fork'\), whose way depends on the data"):
        graph.to_function(proto, signature())


def test_a_shape_that_only_the_data_tells_is_refused_with_its_layer(tmp_path: Path) -> None:
    nodes = [
        node("Cast", "x", "whole", to=TensorProto.INT64),
        node("Reshape", "whole flat", "list"),
        helper.make_node("Expand", ["x", "list"], ["y"], name="grow"),
    ]
    proto = made(tmp_path, nodes, {"flat": np.array([-1])})
    with pytest.raises(Unsupported, match=r"Expand \(layer 'grow'\).*'list' depends on the data"):
        program.write(graph.to_function(proto, signature()), signature(), tmp_path / "p")


def test_a_graph_that_is_none_is_bad_input(tmp_path: Path) -> None:
    proto = made(tmp_path, [node("Neg", "x", "y")])
    proto.graph.node[0].op_type = "Nothing"
    with pytest.raises(BadInput, match="no valid ONNX"):
        coverage.ready(proto, graph.operators())
