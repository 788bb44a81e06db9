"""A torch network becomes one program file: a free batch axis, no pickle, the same bytes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compilers.forms import TorchModel
from compilers.gpu import program
from model_repo import runtime
from model_repo.errors import Unsupported
from model_repo.program_archive import Settings
from model_repo.records import Model, TensorSpec
from model_repo.store import sha256_of

MODEL = Model(
    "m", "1", (TensorSpec("x", "FP32", (-1, 1, 8, 8)),), (TensorSpec("y", "FP32", (-1, 10)),), True
)
TOLERANCE = {"fp32": 1e-6, "tf32": 1e-6, "fp16": 5e-3, "bf16": 5e-2}


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(128, 10)).eval()


@pytest.mark.parametrize("precision", TOLERANCE)
def test_answers_as_the_network_at_any_batch(precision: Any, tmp_path: Path) -> None:
    made = network()
    program.write(TorchModel("net", made), MODEL, Settings(precision), tmp_path / "model.pt2")
    assert {p.dtype for p in made.parameters()} == {torch.float32}, "the network itself stays"
    session = runtime.load("torch_program").open_session(tmp_path / "model.pt2", MODEL)
    for size in (1, 3, 17):
        x = np.random.default_rng(size).random((size, 1, 8, 8), np.float32)
        with torch.no_grad():
            right = made(torch.from_numpy(x)).numpy()
        outputs, _ = session.run({"x": x})
        assert outputs["y"].dtype == np.float32
        assert np.abs(outputs["y"] - right).max() <= TOLERANCE[precision] * np.abs(right).max()


def test_weights_are_kept_in_the_precision(tmp_path: Path) -> None:
    sizes = {}
    for precision in ("fp32", "fp16"):
        path = tmp_path / f"{precision}.pt2"
        torch.manual_seed(0)
        wide = nn.Sequential(nn.Flatten(), nn.Linear(64, 2048), nn.Linear(2048, 10))
        program.write(TorchModel("net", wide), MODEL, Settings(precision), path)  # type: ignore[arg-type]
        sizes[precision] = path.stat().st_size
    assert 0.5 <= sizes["fp16"] / sizes["fp32"] < 0.6


AGAIN = """
import sys
from pathlib import Path
import test_gpu_program as t
t.program.write(t.TorchModel("net", t.network()), t.MODEL, t.Settings(), Path(sys.argv[1]))
print(t.sha256_of(Path(sys.argv[1])))
"""


def test_another_process_writes_the_same_bytes(tmp_path: Path) -> None:
    program.write(TorchModel("net", network()), MODEL, Settings(), tmp_path / "a.pt2")
    told = subprocess.run(
        [sys.executable, "-c", AGAIN, str(tmp_path / "b.pt2")],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
    )
    assert told.stdout.split() == [sha256_of(tmp_path / "a.pt2")], told.stderr
    assert str(Path(__file__).parent).encode() not in (tmp_path / "a.pt2").read_bytes()


class Deciding(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, :10] if x.sum() > 0 else x.flatten(1)[:, 10:20]


class Foreign(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.quantized.relu6(x).flatten(1)[:, :10]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (Deciding(), "torch.export cannot follow the network 'net': its forward decides by"),
        (Foreign(), "cannot be (kept as a plain program|follow)|cannot follow"),
    ],
)
def test_what_it_cannot_follow_is_unsupported(made: nn.Module, reason: str, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=reason):
        program.write(TorchModel("net", made), MODEL, Settings(), tmp_path / "model.pt2")
    assert not list(tmp_path.iterdir())


def test_tensors_of_strings_are_unsupported(tmp_path: Path) -> None:
    model = Model("m", "1", (TensorSpec("x", "BYTES", (-1, 1)),), MODEL.outputs, True)
    with pytest.raises(Unsupported, match="no BYTES tensors"):
        program.write(TorchModel("net", network()), model, Settings(), tmp_path / "model.pt2")
