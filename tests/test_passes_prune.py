"""Pruning removes the share asked for, where it matters least, and leaves the outputs whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tiny_recipe
import torch
from torch import nn

from compilers import forms
from compilers.contracts import Work
from compilers.forms import TorchModel
from compilers.passes import prune
from compilers.saliency import Importance
from model_repo.errors import BadInput


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return tiny_recipe.materials(tmp_path / "tiny").work({})


def options(**given: object) -> prune.Options:
    return prune.Options(**{"ratio": 0.5, "epochs": 1, "round_to": 1, **given})  # type: ignore[arg-type]  # any of its fields


@pytest.mark.parametrize("importance", ["gradient", "taylor", "magnitude"])
def test_halves_the_channels_and_comes_back_from_disk(
    work: Work, tmp_path: Path, importance: Importance
) -> None:
    model = TorchModel("teacher", work.source.build("teacher", 0))
    made = prune.apply(model, options(importance=importance), work)
    assert made.module[0].out_channels == 4
    assert made.module[4].weight.shape == (10, 64)
    assert work.notes["prune.parameters_kept"] == pytest.approx(0.5, abs=0.02)
    assert set(work.notes) == {
        "prune.unpruned_validation_accuracy",
        "prune.untuned_validation_accuracy",
        "prune.parameters_kept",
        "prune.validation_accuracy",
    }
    forms.save(made, {}, tmp_path)
    back = forms.load(tmp_path, work.source, 0)
    images = torch.rand(3, 1, 8, 8)
    assert torch.equal(back.module(images), made.module(images))


@pytest.mark.parametrize("importance", ["gradient", "taylor", "magnitude"])
def test_dead_channels_go_first(work: Work, importance: Importance) -> None:
    network = work.source.build("teacher", 0).eval()
    dead = [0, 3, 5, 6]
    with torch.no_grad():
        for layer in (network[0], network[1]):
            layer.weight[dead] = layer.bias[dead] = 0
        network[4].weight.reshape(10, 8, 16)[:, dead] = 0
    images = torch.rand(3, 1, 8, 8)
    wanted = network(images)
    made = prune.apply(
        TorchModel("teacher", network), options(importance=importance, epochs=0), work
    )
    torch.testing.assert_close(made.module(images), wanted)


def test_the_ratio_is_rounded_to_whole_groups_of_channels(work: Work) -> None:
    model = TorchModel("teacher", work.source.build("teacher", 0))
    made = prune.apply(model, options(ratio=0.3, round_to=4, epochs=0), work)
    assert made.module[0].out_channels in (4, 8)


def test_a_layer_to_keep_is_kept(work: Work) -> None:
    model = TorchModel("teacher", work.source.build("teacher", 0))
    made = prune.apply(model, options(keep=("0", "4"), epochs=0), work)
    assert made.module[0].out_channels == 8


def test_an_unknown_layer_is_refused_early(work: Work) -> None:
    with pytest.raises(BadInput, match=r"keep names the layer 'tail'.*choose from 0, 1, 4"):
        prune.check(options(keep=("tail",)), work.source)


def test_refuses_to_shrink_the_outputs(work: Work) -> None:
    class Reversed(nn.Module):
        """Its last layer by name is not the one that answers."""

        def __init__(self) -> None:
            super().__init__()
            self.answer = nn.Linear(64, 10)
            self.before = nn.Linear(64, 64)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = self.answer(self.before(images.flatten(1)))
            return scores

    own = replace(work, source=replace(work.source, models={"reversed": Reversed}))
    with pytest.raises(BadInput, match=r"shrink from \[2, 10\] to \[2, 5\].*under keep"):
        prune.apply(TorchModel("reversed", Reversed()), options(keep=("before",)), own)
