"""On a GPU, programs answer as on the CPU in every precision and mode, and are timed by events."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import gpu_models
import numpy as np
import pytest
import torch
from gpu_models import CNN
from torch import nn

from compilers.forms import TorchModel
from compilers.gpu import program
from model_repo import cuda, runtime
from model_repo.errors import Expired
from model_repo.program_archive import Settings
from model_repo.records import Model, TensorSpec
from model_repo.runtime import Session

TOLERANCE = {"fp32": 1e-5, "tf32": 2e-3, "fp16": 5e-3, "bf16": 5e-2}


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 64, 3, 1, 1), nn.BatchNorm2d(64), nn.ReLU(), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(64 * 64, 10)).eval()


def opened(made: nn.Module, settings: Settings, folder: Path, model: Model = CNN) -> Session:
    program.write(TorchModel("net", made), model, settings, folder / "model.pt2")
    return runtime.load("torch_program").open_session(folder / "model.pt2", model)


def test_the_machine_says_that_it_serves_here() -> None:
    found = cuda.find()
    assert found and torch.cuda.get_device_name(0) == found.name
    major, minor = torch.cuda.get_device_capability(0)
    assert found.capability == f"{major}.{minor}"
    for name in ("torch_program",):
        assert runtime.load(name).device() == "gpu"
        runtime.load(name).check()


@pytest.mark.parametrize("mode", ["eager", "compiled", "graphs"])
@pytest.mark.parametrize("precision", TOLERANCE)
def test_answers_as_the_cpu_does(precision: Any, mode: Any, tmp_path: Path) -> None:
    made = network()
    session = opened(made, Settings(precision, mode), tmp_path)
    for size in (1, 3, 32, 3):
        for turn in range(3):  # a captured graph must read the new batch, not the first
            x = gpu_models.rows(size * 7 + turn)[:size]
            with torch.no_grad():
                right = made(torch.from_numpy(x)).numpy()
            outputs, device_ns = session.run({"x": x})
            gap = np.abs(outputs["y"] - right).max() / np.abs(right).max()
            assert gap <= TOLERANCE[precision], (size, turn, gap)
            assert device_ns > 0


def test_device_time_is_within_the_wall_time(tmp_path: Path) -> None:
    session = opened(network(), Settings("fp32", "graphs"), tmp_path)
    for _ in range(10):
        start = time.monotonic_ns()
        _, device_ns = session.run({"x": gpu_models.rows(32)})
        assert 0 < device_ns <= time.monotonic_ns() - start


def test_threads_get_their_own_answers(tmp_path: Path) -> None:
    made = network()
    session = opened(made, Settings("fp32", "graphs"), tmp_path)
    found: dict[int, Any] = {}

    def run(size: int) -> None:
        for _ in range(20):
            found[size] = session.run({"x": gpu_models.rows(size)})[0]["y"]

    threads = [threading.Thread(target=run, args=(size,)) for size in (1, 2, 5, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for size, answer in found.items():
        with torch.no_grad():
            right = made(torch.from_numpy(gpu_models.rows(size))).numpy()
        assert answer == pytest.approx(right, rel=1e-3, abs=1e-4)


class Slow(nn.Module):
    """Hundreds of products of 4096 by 4096: half a second and more on any card."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((4096, 4096), 2e-4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = self.weight
        for _ in range(300):
            state = state @ self.weight
        return x + state[0, 0]


def test_a_run_that_takes_too_long_is_left_and_the_next_one_is_right(tmp_path: Path) -> None:
    model = Model(
        "m", "1", (TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "FP32", (-1, 2)),), True
    )
    session = opened(Slow(), Settings("fp32", "eager"), tmp_path, model)
    with pytest.raises(Expired, match=r"longer than 0\.05 s"):
        session.run({"x": np.zeros((1, 2), np.float32)}, 0.05)
    outputs, _ = session.run({"x": np.ones((1, 2), np.float32)})
    assert outputs["y"] == pytest.approx(np.ones((1, 2)), abs=0.5)
