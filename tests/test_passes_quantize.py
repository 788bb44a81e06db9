"""Quantizing writes int8 graphs that still answer, and the same bytes each time."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import numpy as np
import onnxruntime
import pytest
import tiny_recipe

from compilers import export
from compilers.contracts import Work
from compilers.forms import TorchModel
from compilers.passes import quantize
from model_repo.errors import BadInput


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
    import onnx

    return onnx.load_from_string(exported)


def kinds(proto: Any) -> Counter[str]:
    return Counter(node.op_type for node in proto.graph.node)


def answers(proto: Any, work: Work) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    scores: np.ndarray = session.run(None, dict(work.calibration.inputs))[0]
    return scores


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_answers_almost_as_before(work: Work, graph: Any, mode: str) -> None:
    before = answers(graph, work)
    level = logging.getLogger().level
    made = quantize.apply(graph, quantize.Options(mode=mode), work)  # type: ignore[arg-type]  # one of two
    gap = np.abs(answers(made, work) - before).max() / np.abs(before).max()
    assert 0 < gap < 0.1
    assert logging.getLogger().level == level
    assert any("Quantize" in kind or "Integer" in kind for kind in kinds(made))


def test_static_is_unsigned_by_signed_and_per_channel(work: Work, graph: Any) -> None:
    import onnx

    made = quantize.apply(graph, quantize.Options(), work)
    types = {item.name: item.data_type for item in made.graph.initializer}
    assert onnx.TensorProto.INT8 in types.values()
    assert onnx.TensorProto.UINT8 in types.values()
    axes = [
        item
        for node in made.graph.node
        if node.op_type == "DequantizeLinear"
        for item in node.attribute
        if item.name == "axis"
    ]
    assert axes, "a scale for each output channel"


def test_the_same_model_gives_the_same_bytes(work: Work, graph: Any) -> None:
    made = [
        quantize.apply(graph, quantize.Options(), work).SerializeToString(deterministic=True)
        for _ in range(2)
    ]
    assert made[0] == made[1]


def test_a_node_to_skip_stays_in_floating_point(work: Work, graph: Any) -> None:
    all_of_it = kinds(quantize.apply(graph, quantize.Options(), work))
    name = next(node.name for node in graph.graph.node if node.op_type == "Gemm")
    rest = kinds(quantize.apply(graph, quantize.Options(skip=(name,)), work))
    assert rest["DequantizeLinear"] < all_of_it["DequantizeLinear"]


def test_an_unknown_node_to_skip_is_refused(work: Work, graph: Any) -> None:
    with pytest.raises(BadInput, match=r"skip names the node 'none'.*its nodes are"):
        quantize.apply(graph, quantize.Options(skip=("none",)), work)
