"""The CPU target writes what each of its runtimes opens: checked, and the same bytes every time."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_files
import pytest

from compilers.graph import graphs
from compilers.targets import cpu
from model_repo import runtime
from model_repo.errors import BadInput, Unsupported
from model_repo.records import Model, TensorSpec
from model_repo.runtimes import openvino_ir
from model_repo.store import sha256_of

MODEL = Model(
    "m", "1", (TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", (-1, 3)),), True
)
FILES = {"onnx_graph": "model.onnx", "openvino_ir": "model.ir.zip"}


def linear(folder: Path, precision: str = "") -> Any:
    """A graph that may say in which precision it is computed."""
    proto = onnx.load(onnx_files.linear(folder / "given.onnx"))
    proto.producer_name = "someone"
    proto.metadata_props.add(key="made at", value="/home/someone")
    if precision:
        proto.metadata_props.add(key=graphs.PRECISION, value=precision)
    return proto


def test_every_format_is_a_runtime_with_a_name_of_its_own() -> None:
    assert {"onnx_graph", "openvino_ir"} == cpu.FORMATS.keys()
    for name in cpu.FORMATS:
        runtime.load(name).check()
    assert sorted(each.suffix for each in cpu.FORMATS.values()) == ["", "openvino"]


@pytest.mark.parametrize("name", FILES)
def test_writes_a_described_file_that_its_runtime_opens(name: str, tmp_path: Path) -> None:
    artifact = cpu.lower(linear(tmp_path), name, tmp_path)
    path = tmp_path / FILES[name]
    assert (artifact.path, artifact.format) == (path.name, name)
    assert artifact.sha256 == sha256_of(path)
    assert b"someone" not in path.read_bytes()
    session = runtime.load(name).open_session(path, MODEL)
    outputs, _ = session.run({"x": np.ones((2, 4), np.float32)})
    assert outputs["y"].sum(axis=1) == pytest.approx(np.ones(2), abs=1e-5)


@pytest.mark.parametrize("name", FILES)
def test_refuses_an_invalid_graph(name: str, tmp_path: Path) -> None:
    proto = linear(tmp_path)
    proto.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(BadInput, match=r"no valid ONNX: .*NoSuchOperator"):
        cpu.lower(proto, name, tmp_path)
    assert not (tmp_path / FILES[name]).exists()


AGAIN = """
import sys
from pathlib import Path
import onnx, openvino
from compilers.targets import cpu

openvino.Core().read_model(sys.argv[1])  # so that its nodes are numbered from elsewhere
print(cpu.lower(onnx.load(sys.argv[1]), "openvino_ir", Path(sys.argv[2])).sha256)
"""


def test_another_process_writes_the_same_bytes(tmp_path: Path) -> None:
    given = onnx_files.endless(tmp_path / "loop.onnx")  # nodes in a body are numbered too
    here = cpu.lower(onnx.load(given), "openvino_ir", tmp_path).sha256
    there = tmp_path / "there"
    there.mkdir()
    told = subprocess.run(
        [sys.executable, "-c", AGAIN, str(given), str(there)], capture_output=True, text=True
    )
    assert told.stdout.split() == [here], told.stderr


def test_a_zip_holds_what_other_tools_read_and_nothing_else(tmp_path: Path) -> None:
    import openvino

    path = tmp_path / cpu.lower(linear(tmp_path), "openvino_ir", tmp_path).path
    with zipfile.ZipFile(path) as file:
        assert file.namelist() == ["model.xml", "model.bin"]
        assert {entry.compress_type for entry in file.infolist()} == {zipfile.ZIP_STORED}
        assert {entry.date_time[0] for entry in file.infolist()} == {1980}
        file.extractall(tmp_path / "unzipped")
    assert len(openvino.Core().read_model(tmp_path / "unzipped" / "model.xml").outputs) == 1


def test_bf16_is_for_openvino_and_not_for_onnx_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unsupported, match="ONNX Runtime has no bf16 kernels"):
        cpu.lower(linear(tmp_path, "bf16"), "onnx_graph", tmp_path)
    monkeypatch.setattr(openvino_ir, "has_bf16", lambda: True)
    path = tmp_path / cpu.lower(linear(tmp_path, "bf16"), "openvino_ir", tmp_path).path
    assert b"bf16" in path.read_bytes()
    monkeypatch.setattr(openvino_ir, "has_bf16", lambda: False)
    with pytest.raises(Unsupported, match="this CPU has no instructions for bf16"):
        cpu.lower(linear(tmp_path, "bf16"), "openvino_ir", tmp_path)
    with pytest.raises(BadInput, match="no instructions: serve another variant here"):
        runtime.load("openvino_ir").open_session(path, MODEL)


def test_an_operator_that_openvino_has_not_is_unsupported(tmp_path: Path) -> None:
    given = onnx_files.write(
        tmp_path / "given.onnx",
        [onnx_files.node("RegexFullMatch", "x", "y", pattern="a+")],
        [("x", onnx.TensorProto.STRING, ["n"])],
        [("y", onnx.TensorProto.BOOL, ["n"])],
        opset=20,
    )
    with pytest.raises(Unsupported, match=r"OpenVINO cannot read the model: .*RegexFullMatch"):
        cpu.lower(onnx.load(given), "openvino_ir", tmp_path)
