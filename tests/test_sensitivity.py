"""Layers that matter more are found to matter more, once, from a graph or a network alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_files
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from compilers.cache import Cache
from compilers.contracts import Work
from compilers.datasets import Data
from compilers.sensitivity import layers, pruning, quantization
from compilers.sensitivity.divergence import UNUSABLE, divergence
from compilers.source import Source
from model_repo.errors import BadInput


def work(path: Path, rows: Any, **changes: Any) -> Work:
    path.touch()
    data = Data({"x": np.asarray(rows, np.float32)})
    return Work(Source(path, {}, lambda: data), data, data, data, 0, **changes)


def two_layers(path: Path, spread: float, bits: float = 1.0) -> Any:
    """x -> steep -> plain -> y; the steep layer's input has one wild column that hides the rest."""
    rng = np.random.default_rng(0)
    first = rng.standard_normal((4, 4)).astype(np.float32)
    first[0] *= 1 / spread
    return onnx.load(
        onnx_files.write(
            path,
            [
                onnx.helper.make_node("MatMul", ["x", "steep.weight"], ["h"], "steep"),
                onnx.helper.make_node("MatMul", ["h", "w"], ["z"], "plain"),
                onnx.helper.make_node("Add", ["z", "last.bias"], ["y"], "add"),
            ],
            [("x", onnx_files.FLOAT, ["n", 4])],
            [("y", onnx_files.FLOAT, ["n", 3])],
            {
                "steep.weight": first,
                "w": bits * rng.standard_normal((4, 3)).astype(np.float32),
                "last.bias": np.zeros(3, np.float32),
            },
        )
    )


def wild(spread: float) -> Any:
    rows = np.random.default_rng(1).standard_normal((30, 4))
    rows[:, 0] *= spread
    return rows


def test_the_layer_with_the_wild_input_is_the_most_sensitive(tmp_path: Path) -> None:
    model = two_layers(tmp_path / "m.onnx", 300)
    before = model.SerializeToString(deterministic=True)
    found = quantization.losses(model, work(tmp_path / "m.onnx", wild(300)))
    assert found["steep"] > 20 * found["plain"] > 0
    assert quantization.rank(model, work(tmp_path / "m.onnx", wild(300))) == ("steep", "plain")
    assert model.SerializeToString(deterministic=True) == before, "the model is left as it was"


def test_layers_are_called_as_in_the_network_they_came_from(tmp_path: Path) -> None:
    found = layers.find(two_layers(tmp_path / "m.onnx", 1))
    assert [(layer.name, layer.title) for layer in found] == [("steep", "steep"), ("plain", "last")]


def test_a_graph_without_weights_has_no_layers(tmp_path: Path) -> None:
    path = onnx_files.write(
        tmp_path / "m.onnx",
        [onnx_files.node("Relu", "x", "y")],
        [("x", onnx_files.FLOAT, ["n", 4])],
        [("y", onnx_files.FLOAT, ["n", 4])],
    )
    assert quantization.losses(onnx.load(path), work(path, wild(1))) == {}


def test_answers_that_are_no_numbers_are_refused_in_a_sentence(tmp_path: Path) -> None:
    model = two_layers(tmp_path / "m.onnx", 1, bits=np.nan)
    with pytest.raises(BadInput, match="answers NaN or infinity on calibration rows"):
        quantization.losses(model, work(tmp_path / "m.onnx", wild(1)))


def test_losses_are_measured_once(tmp_path: Path) -> None:
    model, said = two_layers(tmp_path / "m.onnx", 10), list[str]()
    cache = Cache(tmp_path)
    for metric in ("accuracy", "accuracy", "cosine"):
        drawn = work(
            tmp_path / "m.onnx", wild(10), say=said.append, recall=cache.recall, metric=metric
        )
        quantization.losses(model, drawn)
    assert len(said) == 2 * 2, "two layers, for two metrics"


class Network(nn.Module):
    """The first layer's first channel carries the answer; half of `idle` is never heard."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.idle = nn.Linear(4, 4, bias=False)
        self.last = nn.Linear(4, 3)
        with torch.no_grad():
            self.idle.weight[2:] = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.norm(self.stem(x[:, None, :, None])).relu().mean((2, 3))
        answer: torch.Tensor = self.last(self.idle(hidden))
        return answer


def test_channels_that_nothing_hears_cost_nothing(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Network().eval()
    found = pruning.losses(module, work(tmp_path / "s.py", wild(1)))
    assert list(found) == ["stem", "idle"], "the last layer computes the answers"
    assert found["idle"] == 0 < found["stem"]
    assert not any(layer._forward_hooks for layer in module.modules())


def test_a_silenced_channel_is_silent_behind_its_batch_norm(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Network().eval()
    with torch.no_grad():
        module.norm.bias.fill_(5.0)
    (site, *_) = pruning._find_sites(module, lambda: module(torch.randn(8, 4)))
    assert site.module is module.norm
    with pruning._silenced(site):
        silent = module.norm(torch.randn(8, 4, 2, 1))
    assert int((silent == 0).all(dim=(0, 2, 3)).sum()) == 2


@given(st.integers(0, 1000), st.sampled_from(["accuracy", "agreement", "cosine"]))
def test_a_divergence_is_zero_for_itself_and_positive_otherwise(seed: int, metric: Any) -> None:
    rng = np.random.default_rng(seed)
    own, other = rng.standard_normal((2, 5, 3))
    assert divergence([own], [own], metric) == pytest.approx(0, abs=1e-12)
    assert 0 < divergence([own], [other], metric) < UNUSABLE


def test_scores_that_moved_together_have_not_moved() -> None:
    own = np.array([[1.0, 2.0], [0.0, 5.0]])
    assert divergence([own], [own + 3.0], "accuracy") == pytest.approx(0, abs=1e-12)
    assert divergence([own], [own * np.nan], "accuracy") == UNUSABLE
