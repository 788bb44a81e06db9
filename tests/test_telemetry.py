"""Nothing is told to the makers of what we use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import onnx_files

OPEN = """
import sys
from pathlib import Path
import onnx
from compilers.targets import cpu
from model_repo.records import Model, TensorSpec
from model_repo.runtimes import openvino_ir

folder = Path(sys.argv[1])
path = folder / cpu.lower(onnx.load(folder / "m.onnx"), "openvino_ir", folder).path
tensors = (TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", (-1, 3)),)
openvino_ir.open_session(path, Model("m", "1", *tensors, True))
"""
TOLD = """
import gc
print([name for name in sys.modules if name.startswith("openvino_telemetry.")])
kinds = {(str(type(each).__module__), type(each).__name__) for each in gc.get_objects()}
print(sum(place[:18] == "openvino_telemetry" or name == "NNCFTelemetry" for place, name in kinds))
"""
NNCF = """
import sys
from model_repo import telemetry

telemetry.silence()
import nncf
"""


def run(code: str, folder: Path) -> tuple[str, str]:
    command = [sys.executable, "-c", code, str(folder)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return told.stdout, told.stderr


def test_openvino_is_silent_and_logs_nothing(tmp_path: Path) -> None:
    onnx_files.linear(tmp_path / "m.onnx")
    assert run(OPEN + TOLD, tmp_path) == ("[]\n0\n", "")


def test_nncf_is_silent(tmp_path: Path) -> None:
    assert run(NNCF + TOLD, tmp_path)[0] == "[]\n0\n"


def test_without_silence_it_would_be_told(tmp_path: Path) -> None:
    """What the others prove: that there is something to silence. CI=true tells it to be quiet."""
    out, _ = run("import os, sys; os.environ['CI'] = 'true'; import openvino\n" + TOLD, tmp_path)
    assert out.splitlines()[1] != "0"
