"""What rounding would ruin is found, and a graph full of it survives int8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_files import FLOAT, node, write

from compilers import delicate
from compilers.contracts import Work
from compilers.datasets import Data
from compilers.passes import quantize
from compilers.source import Source

FEATURES = 64


def written_out(folder: Path) -> Any:
    """Two products, and between them a normalization and a masked sum as old exporters write it."""
    rng = np.random.default_rng(0)
    path = write(
        folder / "m.onnx",
        [
            node("MatMul", "x w", "h", name="first"),
            node("Add", "h b", "hb", name="bias"),
            node("Mul", "hb hb", "square", name="square"),
            node("ReduceMean", "square", "variance", name="variance", axes=[1], keepdims=1),
            node("Reshape", "variance column", "flat", name="flat"),
            node("Add", "flat epsilon", "sum", name="epsilon"),
            node("Sqrt", "sum", "root", name="root"),
            node("Div", "hb root", "normal", name="divide"),
            node("MatMul", "normal v", "y", name="second"),
        ],
        [("x", FLOAT, ["n", FEATURES])],
        [("y", FLOAT, ["n", 8])],
        {
            "w": rng.standard_normal((FEATURES, FEATURES)).astype(np.float32),
            "v": rng.standard_normal((FEATURES, 8)).astype(np.float32),
            "b": rng.standard_normal(FEATURES).astype(np.float32),
            "column": np.array([-1, 1]),
            "epsilon": np.float32([1e-6]),
        },
    )
    return onnx.load(path)


def test_normalizations_written_out_are_found_and_biases_are_not(tmp_path: Path) -> None:
    assert delicate.names(written_out(tmp_path)) == {
        "square",
        "variance",
        "epsilon",
        "root",
        "divide",
    }


@pytest.mark.parametrize("mode", ["static", "qdq"])
def test_rows_of_every_size_keep_their_answers(mode: str, tmp_path: Path) -> None:
    """Small rows have a variance far under a step of the largest one's."""
    rng = np.random.default_rng(1)
    sizes = 10.0 ** rng.uniform(-2, 1, (80, 1))
    rows = (rng.standard_normal((80, FEATURES)) * sizes).astype(np.float32)
    data = Data({"x": rows})
    work = Work(Source(Path("source.py"), {}, lambda: data), data, data, data, 0)
    proto = written_out(tmp_path)
    large = {"x": rows[sizes[:, 0] > 3]}
    wanted, made = answers(proto, large), quantize.apply(proto, quantize.Options(mode=mode), work)
    assert any(n.op_type == "QuantizeLinear" for n in made.graph.node)
    gap = np.abs(answers(made, large) - wanted).max() / np.abs(wanted).max()
    assert gap < 0.1
    assert np.isfinite(answers(made, {"x": rows})).all()


def answers(proto: Any, feed: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found: np.ndarray = session.run(None, feed)[0]
    return found
