"""A model of either form comes back from a step's folder as it was."""

from __future__ import annotations

from pathlib import Path

import onnx_files
import pytest
import torch
from torch import nn

from compilers import forms
from compilers.datasets import Data
from compilers.forms import TorchModel
from compilers.source import Source


class Tied(nn.Module):
    """Two layers with one weight between them, as language models have."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.second(self.first(values))
        return answer


@pytest.fixture
def source(tmp_path: Path) -> Source:
    models = {"tied": Tied, "normed": lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))}
    return Source(tmp_path / "source.py", models, lambda: Data({}))


@pytest.mark.parametrize("name", ["tied", "normed"])
def test_a_torch_model_comes_back(name: str, source: Source, tmp_path: Path) -> None:
    model = TorchModel(name, source.build(name, 1).eval())
    forms.save(model, {"a.b": 1.5, "c": "d"}, tmp_path)
    back = forms.load(tmp_path, source, 2)
    values = torch.rand(3, 4)
    assert back.network == name
    assert not back.module.training
    assert torch.equal(back.module(values), model.module(values))
    assert forms.facts(tmp_path).notes == {"a.b": 1.5, "c": "d"}


def test_the_same_weights_are_the_same_bytes(source: Source, tmp_path: Path) -> None:
    written = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        forms.save(TorchModel("normed", source.build("normed", 1)), {}, folder)
        written.append((folder / forms.WEIGHTS).read_bytes())
    assert written[0] == written[1]


def test_an_onnx_model_comes_back(source: Source, tmp_path: Path) -> None:
    import onnx

    proto = onnx.load(onnx_files.linear(tmp_path / "given.onnx"))
    forms.save(proto, {}, tmp_path)
    assert forms.load(tmp_path, source, 0) == proto
    assert not list(tmp_path.glob("*.pt")) + list(tmp_path.glob("*.pkl"))
