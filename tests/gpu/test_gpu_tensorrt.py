"""On a GPU, TensorRT and TensorRT for RTX answer as the CPU does, from engines of any origin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gpu_models
import numpy as np
import onnx
import onnxruntime
import pytest
from gpu_models import CNN, job

from compilers.contracts import Work
from compilers.datasets import Data
from compilers.gpu import engines
from compilers.graph import graphs
from compilers.passes import quantize
from compilers.targets import gpu
from model_repo import cuda, runtime, tensorrt_session

TOLERANCE = {"": 2e-3, "fp16": 1e-2, "symmetric": 0.05}


def typed(folder: Path, mode: str) -> Any:
    proto = gpu_models.cnn(folder)
    if mode == "fp16":
        proto.metadata_props.add(key=graphs.PRECISION, value="fp16")
    if mode == "symmetric":
        work = Work(None, *(Data({"x": gpu_models.rows(40)}),) * 3, 0)  # type: ignore[arg-type]
        proto = quantize.apply(proto, quantize.Options(mode="symmetric"), work)
    return proto


def check(session: Any, folder: Path, mode: str) -> None:
    data = onnx.load(folder / "given.onnx").SerializeToString()
    right = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    for size in (1, 3, 32):
        x = gpu_models.rows(size)
        wanted = right.run(None, {"x": x})[0]
        outputs, device_ns = session.run({"x": x})
        assert np.abs(outputs["y"] - wanted).max() <= TOLERANCE[mode] * np.abs(wanted).max()
        assert device_ns > 0


@pytest.mark.parametrize("mode", TOLERANCE)
def test_tensorrt_builds_beside_the_gpu_and_answers(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorrt", reason="TensorRT is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / gpu.lower(typed(tmp_path, mode), "tensorrt", tmp_path, job()).path
    opener = runtime.load("tensorrt")
    opener.check()
    for _ in range(2):
        check(opener.open_session(path, CNN), tmp_path, mode)
    assert len(list((tmp_path / "cache" / "farebox" / "engines").iterdir())) == 1


@pytest.mark.parametrize("built", ["ahead", "here"])
@pytest.mark.parametrize("mode", TOLERANCE)
def test_tensorrt_for_rtx_answers_from_an_engine_built_ahead_or_here(
    mode: str, built: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="farebox[gpu] is not installed")
    library = tensorrt_session.load("tensorrt_rtx")
    found = cuda.find()
    assert found
    if found.capability not in engines.known(library):
        pytest.skip(f"TensorRT for RTX builds nothing for {found.capability}")
    others = [name for name in engines.known(library) if name != found.capability]
    asked = found.capability if built == "ahead" else max(others)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = job(compute_capabilities=(asked,))
    path = tmp_path / gpu.lower(typed(tmp_path, mode), "tensorrt_rtx", tmp_path, made).path
    check(runtime.load("tensorrt_rtx").open_session(path, CNN), tmp_path, mode)
    assert (tmp_path / "cache").exists() == (built == "here")
