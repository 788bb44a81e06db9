"""Fusing leaves fewer nodes, the same answers, and nothing that only one runtime knows."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_files
import onnxruntime
import pytest
from onnx_files import FLOAT, node

from compilers.contracts import Work
from compilers.datasets import Data
from compilers.passes import fuse, quantize
from compilers.source import Source
from model_repo.errors import BadInput
from model_repo.records import PassStep

OPTIONS = fuse.Options()


@pytest.fixture
def work() -> Work:
    images = np.random.default_rng(0).standard_normal((30, 2, 6, 6)).astype(np.float32)
    data = Data({"x": images})
    return Work(Source(Path("source.py"), {}, lambda: data), data, data, data, 0)


@pytest.fixture
def graph(tmp_path: Path) -> Any:
    """A convolution, its batch norm, and a product with what two constants add up to."""
    rng = np.random.default_rng(0)
    positive = rng.random(4).astype(np.float32) + 0.5
    path = onnx_files.write(
        tmp_path / "m.onnx",
        [
            node("Conv", "x w", "c", pads=[1, 1, 1, 1]),
            node("BatchNormalization", "c a b m v", "n"),
            node("Identity", "n", "i"),
            node("Relu", "i", "r"),
            node("GlobalAveragePool", "r", "g"),
            node("Flatten", "g", "f"),
            node("Add", "p q", "s"),
            node("MatMul", "f s", "y"),
        ],
        [("x", FLOAT, ["n", 2, 6, 6])],
        [("y", FLOAT, ["n", 3])],
        {
            "w": rng.standard_normal((4, 2, 3, 3)).astype(np.float32),
            **{name: positive for name in "abmv"},
            "p": rng.random((4, 3)).astype(np.float32),
            "q": rng.random((4, 3)).astype(np.float32),
        },
    )
    return onnx.load(path)


def answers(proto: Any, work: Work) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found: np.ndarray = session.run(None, dict(work.calibration.inputs))[0]
    return found


def test_constants_and_batch_norms_are_folded(graph: Any, work: Work) -> None:
    before = answers(graph, work)
    made = fuse.apply(graph, OPTIONS, work)
    kinds = Counter(item.op_type for item in made.graph.node)
    assert not kinds & Counter(["BatchNormalization", "Identity", "Add"])
    assert kinds["Conv"] == 1 and not made.metadata_props
    assert {item.domain for item in made.opset_import} == {""}
    onnx.checker.check_model(made, full_check=True)
    np.testing.assert_allclose(answers(made, work), before, rtol=1e-4, atol=1e-5)
    assert work.notes["fuse.nodes_before"] == 8
    assert work.notes["fuse.nodes_after"] == len(made.graph.node) < 6


def test_the_same_graph_gives_the_same_bytes(graph: Any, work: Work) -> None:
    text = graph.SerializeToString()
    made = [fuse.apply(onnx.load_from_string(text), OPTIONS, work) for _ in range(2)]
    assert made[0].SerializeToString(deterministic=True) == made[1].SerializeToString(
        deterministic=True
    )


def test_what_is_quantized_is_not_fused(graph: Any, work: Work) -> None:
    with pytest.raises(BadInput, match="fuse before quantizing"):
        fuse.check_after(OPTIONS, (PassStep("quantize", {"mode": "static"}),))
    with pytest.raises(BadInput, match="mode bf16, which says how the finished graph"):
        fuse.check_after(OPTIONS, (PassStep("quantize", {"mode": "bf16"}),))
    with pytest.raises(BadInput, match="keep one of the two"):
        fuse.check_after(OPTIONS, (PassStep("fuse"),))
    fuse.check_after(OPTIONS, (PassStep("distill"), PassStep("prune")))
    made = quantize.apply(graph, quantize.Options(mode="qdq"), work)
    with pytest.raises(BadInput, match="fuse: the graph holds quantized operators already"):
        fuse.apply(made, OPTIONS, work)


def test_without_rows_the_answers_cannot_be_compared(graph: Any, work: Work) -> None:
    none = replace(work, calibration=work.calibration.take(slice(0)))
    with pytest.raises(BadInput, match="fuse: there are no calibration rows to compare"):
        fuse.apply(graph, OPTIONS, none)


def test_a_graph_whose_answers_would_change_is_refused(
    graph: Any, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = onnx.load_from_string(graph.SerializeToString())
    other.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(np.zeros((4, 2, 3, 3), np.float32), "w")
    )
    monkeypatch.setattr(fuse, "_optimized", lambda model: other)
    with pytest.raises(BadInput, match="would change the answers"):
        fuse.apply(graph, OPTIONS, work)
