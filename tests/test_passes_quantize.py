"""Quantizing writes int8 graphs that still answer, and the same bytes each time."""

from __future__ import annotations

import logging
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_files
import onnxruntime
import pytest
import tiny_recipe
from onnx import TensorProto, helper

from compilers.contracts import Work
from compilers.datasets import Data
from compilers.forms import TorchModel
from compilers.graph import export, graphs, integers
from compilers.passes import quantize
from model_repo import plugins
from model_repo.errors import BadInput
from model_repo.records import PassStep


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    return tiny_recipe.materials(tmp_path_factory.mktemp("tiny")).work({})


@pytest.fixture(scope="module")
def exported(work: Work) -> bytes:
    model = TorchModel("teacher", work.source.build("teacher", 0))
    proto: bytes = export.to_onnx(model, work).SerializeToString()
    return proto


@pytest.fixture
def graph(exported: bytes) -> Any:
    return onnx.load_from_string(exported)


def kinds(proto: Any) -> Counter[str]:
    return Counter(node.op_type for node in proto.graph.node)


def answers(proto: Any, work: Work) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    scores: np.ndarray = session.run(None, dict(work.calibration.inputs))[0]
    return scores


def options(mode: str, **others: Any) -> quantize.Options:
    return quantize.Options(mode=mode, **others)


@pytest.mark.parametrize("mode", ["static", "qdq", "dynamic", "symmetric", "weights"])
def test_answers_almost_as_before(
    work: Work, graph: Any, mode: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before = answers(graph, work)
    level = logging.getLogger().level
    made = quantize.apply(graph, options(mode), work)
    gap = np.abs(answers(made, work) - before).max() / np.abs(before).max()
    assert 0 < gap < 0.1
    assert logging.getLogger().level == level
    assert integers.quantizing(made.graph)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("ranges", ["entropy", "percentile"])
def test_what_calibrators_tell_stays_off_stdout(
    work: Work, graph: Any, ranges: str, capfd: pytest.CaptureFixture[str]
) -> None:
    quantize.apply(graph, options("qdq", ranges=ranges), work)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("mode", ["static", "qdq"])
def test_ranges_from_rows_are_unsigned_by_signed_and_per_channel(
    work: Work, graph: Any, mode: str
) -> None:
    made = quantize.apply(graph, options(mode), work)
    types = {item.name: item.data_type for item in made.graph.initializer}
    activations = [n for n in made.graph.node if n.op_type == "QuantizeLinear"]
    assert {types[n.input[2]] for n in activations} == {TensorProto.UINT8}
    weights = [
        n for n in made.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in types
    ]
    assert TensorProto.INT8 in {types[n.input[0]] for n in weights}
    shapes = {item.name: len(item.dims) for item in made.graph.initializer}
    assert any(shapes[n.input[1]] == 1 for n in weights), "a scale for each output channel"


@pytest.mark.parametrize("mode", ["static", "qdq", "dynamic", "symmetric", "weights"])
def test_the_same_model_gives_the_same_bytes(work: Work, exported: bytes, mode: str) -> None:
    made = [quantize.apply(onnx.load_from_string(exported), options(mode), work) for _ in range(2)]
    first, second = (each.SerializeToString(deterministic=True) for each in made)
    assert first == second


@pytest.mark.parametrize("mode", ["static", "qdq", "symmetric"])
def test_a_node_to_skip_stays_in_floating_point(work: Work, graph: Any, mode: str) -> None:
    all_of_it = kinds(quantize.apply(graph, options(mode), work))
    name = next(node.name for node in graph.graph.node if node.op_type == "Gemm")
    rest = kinds(quantize.apply(graph, options(mode, skip=(name,)), work))
    assert rest["DequantizeLinear"] < all_of_it["DequantizeLinear"]


def test_an_unknown_node_to_skip_is_refused(work: Work, graph: Any) -> None:
    with pytest.raises(BadInput, match=r"skip names the node 'none'.*its nodes are"):
        quantize.apply(graph, options("static", skip=("none",)), work)


def test_the_most_sensitive_layers_are_spared(work: Work, graph: Any) -> None:
    made = quantize.apply(graph, options("qdq", spare=1), work)
    assert kinds(made)["Conv"] + kinds(made)["Gemm"] == 2
    all_of_it = kinds(quantize.apply(graph, options("qdq"), work))
    assert kinds(made)["DequantizeLinear"] < all_of_it["DequantizeLinear"]
    with pytest.raises(BadInput, match="spare is 2, and the graph has 2 layers"):
        quantize.apply(graph, options("qdq", spare=2), work)


@pytest.mark.parametrize("mode", ["bf16", "fp16"])
def test_a_mark_changes_nothing_but_what_the_graph_says_of_itself(
    work: Work, graph: Any, mode: str
) -> None:
    made = quantize.apply(onnx.load_from_string(graph.SerializeToString()), options(mode), work)
    assert graphs.precision(made) == mode
    assert list(made.graph.node) == list(graph.graph.node)
    int8 = quantize.apply(graph, options("qdq"), work)
    assert integers.quantizing(quantize.apply(int8, options(mode), work).graph)


def test_symmetric_is_signed_around_0_per_channel_and_leaves_biases_alone(
    work: Work, graph: Any
) -> None:
    made = quantize.apply(graph, options("symmetric"), work)
    arrays = {i.name: onnx.numpy_helper.to_array(i) for i in made.graph.initializer}
    pairs = [n for n in made.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert {arrays[n.input[2]].dtype for n in pairs} == {np.dtype(np.int8)}
    assert not any(arrays[n.input[2]].any() for n in pairs)
    rounded = {n.output[0]: n for n in pairs}
    products = [n for n in made.graph.node if n.op_type in ("Conv", "Gemm")]
    assert [[name in rounded for name in n.input] for n in products] == [[True, True, False]] * 2
    assert all(arrays[rounded[n.input[1]].input[1]].ndim == 1 for n in products)
    assert not any(n.output[0] in {p.input[0] for p in pairs} for n in products)


def test_searches_try_only_what_cpus_gain_by(work: Work) -> None:
    assert not {"fp16", "symmetric"} & {*quantize.searched(work.source)["mode"]}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (
            {"mode": "int8"},
            "mode is 'int8': choose one of bf16, dynamic, fp16, qdq, static, symmetric",
        ),
        ({"ranges": "entropy"}, "ranges belongs to mode qdq, symmetric, and mode is static"),
        ({"mode": "weights", "reduce_range": True}, "belongs to mode dynamic, qdq, static, and"),
        ({"mode": "static", "bits": 4}, "bits belongs to mode weights, and mode is static"),
        ({"mode": "bf16", "spare": 1}, "spare belongs to mode dynamic, qdq, static, symmetric"),
    ],
)
def test_options_of_another_mode_are_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        quantize.check_after(quantize.Options(**given), ())


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("static", "dynamic", "compute in int8 already"),
        ("qdq", "weights", "compute in int8 already"),
        ("weights", "static", "the weights are integers already"),
        ("symmetric", "static", "compute in int8 already"),
        ("bf16", "static", "put it last, and only one"),
        ("bf16", "bf16", "put it last, and only one"),
        ("bf16", "fp16", "put it last, and only one"),
        ("static", "bf16", ""),
        ("weights", "bf16", ""),
        ("symmetric", "fp16", ""),
    ],
)
def test_modes_that_do_not_compose_are_refused(before: str, after: str, reason: str) -> None:
    steps = (PassStep("fuse"), PassStep("quantize", {"mode": before}))
    quantize.check_after(options(after), steps[:1])
    if not reason:
        quantize.check_after(options(after), steps)
        return
    with pytest.raises(BadInput, match=f"mode {after} after mode {before}.*{reason}"):
        quantize.check_after(options(after), steps)


def test_what_is_quantized_already_is_refused(work: Work, graph: Any) -> None:
    made = quantize.apply(graph, options("dynamic"), work)
    with pytest.raises(BadInput, match="holds quantized operators already"):
        quantize.apply(made, options("qdq"), work)


@pytest.mark.parametrize("mode", ["static", "qdq", "dynamic", "symmetric", "weights"])
def test_a_weight_that_is_no_number_is_refused(work: Work, graph: Any, mode: str) -> None:
    spoilt = next(item for item in graph.graph.initializer if len(item.dims) > 1)
    array = onnx.numpy_helper.to_array(spoilt).copy()
    array.flat[3] = np.nan
    spoilt.CopyFrom(onnx.numpy_helper.from_array(array, spoilt.name))
    with pytest.raises(BadInput, match=f"the weight '{spoilt.name}' holds NaN"):
        quantize.apply(graph, options(mode), work)


@pytest.mark.parametrize("mode", ["static", "qdq", "symmetric"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_without_finite_ranges_are_refused(
    work: Work, graph: Any, mode: str, bad: float
) -> None:
    spoilt = {name: array.copy() for name, array in work.calibration.inputs.items()}
    next(iter(spoilt.values()))[5] = bad
    with pytest.raises(BadInput, match=r"quantize.*(finite range|cannot take)"):
        quantize.apply(graph, options(mode), replace(work, calibration=Data(spoilt)))


@pytest.mark.parametrize("mode", ["static", "qdq"])
def test_no_calibration_rows_is_said(work: Work, graph: Any, mode: str) -> None:
    none = replace(work, calibration=work.calibration.take(slice(0, 0)))
    with pytest.raises(BadInput, match="no calibration rows to take ranges from"):
        quantize.apply(graph, options(mode), none)
    assert quantize.apply(graph, options("dynamic"), none)


def test_what_search_tries_is_allowed(work: Work) -> None:
    found = quantize.searched(work.source)
    for mode in found["mode"]:
        quantize.check_after(options(mode), ())


def test_the_libraries_that_modes_import_are_listed() -> None:
    listed = set(quantize.LIBRARIES)
    for name in plugins.names("compilers.quantizers"):
        text = Path(str(plugins.load("compilers.quantizers", name).__file__)).read_text()
        imported = set(re.findall(r"^ +(?:import|from) (\w+)", text, re.MULTILINE))
        assert imported - {"compilers", "model_repo"} <= listed


def test_a_bias_of_two_axes_is_quantized_as_onnx_has_it(work: Work, graph: Any) -> None:
    """ONNX Runtime's calibrator fails at [1, n], which Gemm takes as well as [n]."""
    gemm = next(node for node in graph.graph.node if node.op_type == "Gemm")
    bias = next(item for item in graph.graph.initializer if item.name == gemm.input[2])
    bias.dims.insert(0, 1)
    del graph.graph.value_info[:]
    before = answers(graph, work)
    made = quantize.apply(graph, options("qdq"), work)
    onnx.checker.check_model(made, full_check=True)
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(made.SerializeToString(), settings)
    plain = session.run(None, dict(work.calibration.inputs))[0]
    assert np.abs(plain - before).max() < 0.1 * np.abs(before).max()


def test_control_flow_is_not_for_every_mode(work: Work, tmp_path: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("MatMul", ["flat", "w"], ["inner"])],
        "inner",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, ["n", 10])],
    )
    path = onnx_files.write(
        tmp_path / "m.onnx",
        [
            onnx_files.node("Flatten", "image", "flat"),
            onnx_files.node("If", "yes", "some", then_branch=inner, else_branch=inner),
            onnx_files.node("MatMul", "some v", "y"),
        ],
        [("image", TensorProto.FLOAT, ["n", 1, 8, 8])],
        [("y", TensorProto.FLOAT, ["n", 10])],
        {
            "yes": np.array(True),
            "w": np.ones((64, 10), np.float32),
            "v": np.eye(10, dtype=np.float32),
        },
    )
    ready = onnx.load(path)
    static = plugins.load("compilers.quantizers", "static")
    with pytest.raises(BadInput, match="takes no control flow"):
        static.quantize(ready, options("static"), (), work)


@pytest.mark.parametrize(("kind", "width"), [(np.float16, "FP16"), (np.float64, "FP64")])
@pytest.mark.parametrize("mode", ["static", "qdq", "dynamic", "weights"])
def test_weights_of_another_width_are_refused(
    work: Work, tmp_path: Path, mode: str, kind: Any, width: str
) -> None:
    element = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    path = onnx_files.write(
        tmp_path / "m.onnx",
        [onnx_files.node("Flatten", "image", "flat"), onnx_files.node("MatMul", "flat w", "y")],
        [("image", element, ["n", 1, 8, 8])],
        [("y", element, ["n", 10])],
        {"w": np.ones((64, 10), kind)},
    )
    with pytest.raises(BadInput, match=f"mode {mode} takes FP32 weights, and .* are {width}"):
        quantize.apply(onnx.load(path), options(mode), work)


def test_a_graph_that_a_library_breaks_is_its_fault(
    work: Work, graph: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shuffle(proto: Any, *_: Any) -> Any:
        proto.graph.node.insert(0, proto.graph.node.pop())
        return proto

    monkeypatch.setattr(plugins.load("compilers.quantizers", "dynamic"), "quantize", shuffle)
    with pytest.raises(BadInput, match=r"mode dynamic cannot take this graph: .* sorted"):
        quantize.apply(graph, options("dynamic"), work)
