"""Torch networks become programs that answer as they do, at any batch, or are refused in words."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compilers.tpu import from_torch, program
from model_repo.errors import Unsupported
from model_repo.records import Model, TensorSpec
from model_repo.runtimes import stablehlo
from model_repo.tensors import Array

pytestmark = pytest.mark.skipif(
    find_spec("torchax") is None, reason="the extra tpu is not installed"
)


class Words(nn.Module):
    """Two inputs, out of the order of their names: token numbers, and which of them count."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 16)
        self.norm = nn.LayerNorm(16)
        self.mix = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, words: Tensor, counts: Tensor) -> Tensor:
        hidden = self.norm(self.table(words))
        mixed = hidden + self.mix(hidden, hidden, hidden, need_weights=False)[0]
        return (mixed * counts[:, :, None].float()).sum(1)


class Wayward(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x


def convolutions() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.GELU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 8, 3, stride=2), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(8, 10),
    )


def run(module: nn.Module, inputs: dict[str, Array], folder: Path) -> tuple[Array, Array]:
    """What torch and the program answer."""
    torch.manual_seed(0)
    names = {np.dtype(np.float32): "FP32", np.dtype(np.int64): "INT64"}
    specs = tuple(TensorSpec(k, names[v.dtype], (-1, *v.shape[1:])) for k, v in inputs.items())
    with torch.no_grad():
        wanted = module.eval()(*map(torch.from_numpy, inputs.values())).numpy()
    model = Model("m", "1", specs, (TensorSpec("y", "FP32", (-1, *wanted.shape[1:])),), True)
    path = folder / program.FILE
    if not path.exists():
        program.write(from_torch.to_function(module, model), model, path)
    return wanted, stablehlo.open_session(path, model).run(inputs)[0]["y"]


@pytest.mark.parametrize("size", [1, 3, 32])
def test_a_convolutional_network_answers_as_in_torch(size: int, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).random((size, 1, 8, 8), np.float32)
    wanted, found = run(convolutions(), {"x": rows}, tmp_path)
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_a_transformer_of_two_inputs_answers_as_in_torch(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    module = Words()
    for size in (1, 5):
        words = rng.integers(0, 50, (size, 7))
        counts = rng.integers(0, 2, (size, 7))
        wanted, found = run(module, {"words": words, "counts": counts}, tmp_path)
        assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_a_way_that_depends_on_the_data_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="its forward decides by what the data is") as caught:
        run(Wayward(), {"x": np.ones((2, 3), np.float32)}, tmp_path)
    assert "\n" not in str(caught.value)


def test_other_networks_can_still_be_followed_in_this_process() -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cond(x.sum() > 0, lambda x: x + 1, lambda x: x - 1, (x,))

    from_torch._load_torchax()
    example = torch.ones(2, 4)
    exported = torch.export.export(Branching(), (example,))
    assert torch.equal(exported.module()(example), example + 1)
