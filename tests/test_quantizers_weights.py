"""Weights in few bits: a quarter of the file and less, and answers that both CPU runtimes give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto
from onnx_files import FLOAT, node, write

from compilers.contracts import Work
from compilers.datasets import Data
from compilers.passes import quantize
from compilers.source import Source
from compilers.targets import cpu
from model_repo import runtime
from model_repo.records import Model, TensorSpec


@pytest.fixture
def work() -> Work:
    words = np.random.default_rng(0).integers(0, 90, (40, 6))
    data = Data({"ids": words})
    return Work(Source(Path("source.py"), {}, lambda: data), data, data, data, 0)


@pytest.fixture
def graph(tmp_path: Path) -> Any:
    """Words looked up in a table, two products that share a weight, and a Gemm."""
    rng = np.random.default_rng(0)
    path = write(
        tmp_path / "given.onnx",
        [
            node("Gather", "table ids", "e"),
            node("ReduceMean", "e", "m", axes=[1], keepdims=0),
            node("MatMul", "m w", "h"),
            node("Tanh", "h", "t"),
            node("MatMul", "t w", "u"),
            node("Gemm", "u g", "y", transB=1),
        ],
        [("ids", TensorProto.INT64, ["n", 6])],
        [("y", FLOAT, ["n", 32])],
        {
            "table": rng.standard_normal((90, 64)).astype(np.float32),
            "w": rng.standard_normal((64, 64)).astype(np.float32),
            "g": rng.standard_normal((32, 64)).astype(np.float32),
        },
    )
    return onnx.load(path)


def answers(proto: Any, work: Work) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found: np.ndarray = session.run(None, dict(work.calibration.inputs))[0]
    return found


@pytest.mark.parametrize(("bits", "largest_gap"), [(8, 0.02), (4, 0.2)])
def test_both_runtimes_read_them(
    graph: Any, work: Work, bits: int, largest_gap: float, tmp_path: Path
) -> None:
    before, size = answers(graph, work), graph.ByteSize()
    made = quantize.apply(graph, quantize.Options(mode="weights", bits=bits), work)  # type: ignore[arg-type]  # 8 or 4
    assert made.ByteSize() < size * (0.45 if bits == 8 else 0.4)
    onnx.checker.check_model(made, full_check=True)
    specs = (TensorSpec("ids", "INT64", (-1, 6)),), (TensorSpec("y", "FP32", (-1, 32)),)
    for artifact_format in cpu.FORMATS:
        runtime.load(artifact_format).check()
        path = tmp_path / cpu.lower(made, artifact_format, tmp_path).path
        session = runtime.load(artifact_format).open_session(path, Model("m", "1", *specs, True))
        found = session.run(work.calibration.inputs)[0]["y"]
        assert 0 < np.abs(found - before).max() / np.abs(before).max() < largest_gap
        session.close()


def test_weights_that_nodes_share_are_stored_once(graph: Any, work: Work) -> None:
    made = quantize.apply(graph, quantize.Options(mode="weights"), work)
    whole = [i for i in made.graph.initializer if i.data_type == TensorProto.INT8]
    assert sorted(tuple(item.dims) for item in whole) == [(32, 64), (64, 64), (90, 64)]
    assert not [
        i for i in made.graph.initializer if i.data_type == FLOAT and np.prod(i.dims) > 1000
    ]


def test_what_is_skipped_or_small_stays(graph: Any, work: Work) -> None:
    names = tuple(n.name for n in quantize._prepared(graph).graph.node if n.op_type == "Gather")
    made = quantize.apply(graph, quantize.Options(mode="weights", skip=names), work)
    kinds = {tuple(item.dims): item.data_type for item in made.graph.initializer}
    assert kinds[(90, 64)] == FLOAT and kinds[(64, 64)] == TensorProto.INT8
