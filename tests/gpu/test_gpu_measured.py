"""On a card that is known, what is measured lies in the range that the roofline gives for it."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gpu_models import job
from torch import nn

from compilers.forms import TorchModel
from compilers.gpu.cards import CARDS
from compilers.targets import gpu
from model_repo import cuda, runtime
from model_repo.records import Model, TensorSpec

IMAGES = Model(
    "m",
    "1",
    (TensorSpec("x", "FP32", (-1, 3, 64, 64)),),
    (TensorSpec("y", "FP32", (-1, 10)),),
    True,
)
SLACK = 2.0
"""How far over the likely end a median may lie; the least end is a bound of physics."""


def card() -> str:
    found = cuda.find()
    names = [name for name in CARDS if found and name in found.name.replace("-", " ").split()]
    if not names:
        pytest.skip(f"no published peaks for {found.name if found else 'no card'}")
    return names[0]


def network() -> nn.Module:
    torch.manual_seed(0)
    blocks: list[nn.Module] = []
    for given, made in ((3, 64), (64, 128), (128, 256), (256, 512)):
        blocks += [nn.Conv2d(given, made, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(512 * 16, 10)).eval()


@pytest.mark.parametrize("mode", ["eager", "graphs"])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_medians_lie_in_the_estimated_range(
    precision: str, mode: str, tmp_path: Path, record_property: Any
) -> None:
    name = card()
    if precision in ("tf32", "bf16") and precision not in CARDS[name].peak:
        pytest.skip(f"{name} has no units for {precision}")
    asked = job(IMAGES, card=name, precision=precision, mode=mode)
    path = tmp_path / gpu.lower(TorchModel("n", network()), "torch_program", tmp_path, asked).path
    session = runtime.load("torch_program").open_session(path, IMAGES)
    for point in gpu.estimate(path, "torch_program", asked).latency:
        x = np.random.default_rng(0).random((point.batch_size, 3, 64, 64), np.float32)
        times = [session.run({"x": x})[1] / 1e9 for _ in range(60)][10:]
        median_s = statistics.median(times)
        record_property(
            f"{name} {precision} {mode} batch {point.batch_size}",
            f"{median_s:.3e} s in {point.device_low_s:.3e} to {point.device_high_s:.3e} s",
        )
        assert median_s >= point.device_low_s
        assert median_s <= SLACK * point.device_high_s
