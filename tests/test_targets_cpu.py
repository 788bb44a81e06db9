"""The CPU target writes a checked ONNX file that its runtime opens."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_files
import pytest

from compilers.targets import cpu
from model_repo.errors import BadInput
from model_repo.store import sha256_of


def test_writes_a_described_file(tmp_path: Path) -> None:
    proto = onnx.load(onnx_files.linear(tmp_path / "given.onnx"))
    proto.producer_name = "someone"
    artifact = cpu.lower(proto, tmp_path)
    assert (artifact.path, artifact.format) == ("model.onnx", "onnx_graph")
    assert artifact.sha256 == sha256_of(tmp_path / "model.onnx")
    assert not onnx.load(tmp_path / "model.onnx").producer_name


def test_refuses_an_invalid_graph(tmp_path: Path) -> None:
    proto = onnx.load(onnx_files.linear(tmp_path / "given.onnx"))
    proto.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(BadInput, match=r"no valid ONNX: .*NoSuchOperator"):
        cpu.lower(proto, tmp_path)
    assert not (tmp_path / "model.onnx").exists()
