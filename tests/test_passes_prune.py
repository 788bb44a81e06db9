"""Pruning removes the share asked for, where it matters least, and leaves the outputs whole."""

from __future__ import annotations

from collections.abc import Callable
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
from compilers.training.saliency import Importance
from model_repo.errors import BadInput
from model_repo.records import PassStep


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
    with pytest.raises(BadInput, match="no channel of the network 'teacher' can go"):
        prune.apply(model, options(keep=("0", "4"), epochs=0), work)


def test_an_unknown_layer_is_refused_early(work: Work) -> None:
    with pytest.raises(BadInput, match=r"keep names the layer 'tail'.*choose from 0, 1, 4"):
        prune.check(options(keep=("tail",)), work.source)
    # Known only once the network is there: an earlier pass may have put another in its place.
    prune.check(options(keep=("4",)), work.source)
    student = TorchModel("student", work.source.build("student", 0))
    with pytest.raises(BadInput, match=r"'4', which the network 'student' does not have.*from 1"):
        prune.apply(student, options(keep=("4",)), work)


def test_fine_tuning_learns_from_the_reference_whatever_came_before(work: Work) -> None:
    """The model to prune answers 3 always; what it is fine-tuned to is the reference's answer."""
    reference = work.source.build("teacher", 0).eval()
    stubborn = work.source.build("teacher", 1)
    with torch.no_grad():
        stubborn[4].weight.zero_()
        stubborn[4].bias.copy_(torch.eye(10)[3])
    own = replace(work, metric="agreement", reference=lambda: reference)
    tuning = options(ratio=0.25, epochs=12, learning_rate=0.02, batch_size=32, soft_weight=1.0)
    prune.apply(TorchModel("teacher", stubborn), tuning, own)
    unpruned, tuned = (own.notes[f"prune.{name}validation_agreement"] for name in ("unpruned_", ""))
    assert isinstance(unpruned, float) and isinstance(tuned, float)
    assert unpruned < 0.3 < 0.6 < tuned


@pytest.mark.parametrize("kind", ["unstructured", "2:4"])
def test_zeros_outlast_fine_tuning_and_the_disk(work: Work, tmp_path: Path, kind: str) -> None:
    model = TorchModel("teacher", work.source.build("teacher", 0))
    made = prune.apply(model, options(kind=kind, keep=("1",), epochs=2), work)
    weights = made.module[4].weight
    assert int((weights == 0).sum()) == weights.numel() // 2
    if kind == "2:4":
        assert bool(((weights.reshape(-1, 4) == 0).sum(1) == 2).all())
    assert work.notes["prune.parameters_kept"] == pytest.approx(0.5, abs=0.05)
    assert made.module[0].out_channels == 8
    forms.save(made, {}, tmp_path)
    images = torch.rand(3, 1, 8, 8)
    assert torch.equal(forms.load(tmp_path, work.source, 0).module(images), made.module(images))


@pytest.mark.parametrize("kind", ["structured", "unstructured"])
def test_layers_that_are_not_trained_are_pruned_too(work: Work, kind: str) -> None:
    def frozen() -> nn.Module:
        network = work.source.build("teacher", 0)
        network[0].requires_grad_(False)
        return network

    own = replace(work, source=replace(work.source, models={"frozen": frozen}))
    made = prune.apply(TorchModel("frozen", frozen()), options(kind=kind, keep=("4",)), own)
    if kind == "structured":
        assert made.module[0].out_channels == 4
    else:
        assert int((made.module[0].weight == 0).sum()) == 36
    assert not made.module[0].weight.requires_grad
    whole = TorchModel("frozen", frozen().requires_grad_(False))
    with pytest.raises(BadInput, match="nothing to fine-tune: set epochs to 0"):
        prune.apply(whole, options(kind=kind), own)


def test_layers_that_matter_more_lose_less(work: Work) -> None:
    network = work.source.build("teacher", 0).eval()
    with torch.no_grad():
        network[0].weight.mul_(100)
    rising = prune._allocate(network, options(ratio=0.4, allocation="sensitivity"), work)
    assert rising.keys() == {"0"}
    prune.apply(TorchModel("teacher", network), options(allocation="sensitivity", epochs=0), work)


class Attention(nn.Module):
    """Heads of 4 channels over an image's rows."""

    head_size = 4

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(8, 16) for _ in range(3))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            layer(rows).unflatten(-1, (-1, 4)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        shares = (query @ key.transpose(-1, -2)).softmax(-1)
        joined: torch.Tensor = (shares @ value).transpose(1, 2).flatten(-2)
        return joined


class Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(8, 8)
        self.attention = Attention()
        self.mix = nn.Linear(16, 8)
        self.widen, self.narrow = nn.Linear(8, 24), nn.Linear(24, 8)
        self.answer = nn.Linear(8, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows = images[:, 0] + self.table(torch.arange(8))
        rows = rows + self.mix(self.attention(rows))
        rows = rows + self.narrow(self.widen(rows).relu())
        scores: torch.Tensor = self.answer(rows.mean(1))
        return scores


def test_whole_heads_and_hidden_units_go_and_embeddings_stay(work: Work, tmp_path: Path) -> None:
    own = replace(work, source=replace(work.source, models={"attentive": Attentive}))
    made = prune.apply(TorchModel("attentive", Attentive()), options(epochs=0), own)
    network = made.module
    assert network.attention.query.weight.shape == (8, 8)
    assert network.attention.value.weight.shape == (8, 8)
    assert network.mix.weight.shape == (8, 8)
    assert network.widen.weight.shape == (12, 8)
    assert network.table.weight.shape == (8, 8)
    forms.save(made, {}, tmp_path)
    images = torch.rand(3, 1, 8, 8)
    assert torch.equal(forms.load(tmp_path, own.source, 0).module(images), network(images))


def test_measured_ratios_keep_heads_whole_too(work: Work) -> None:
    own = replace(work, source=replace(work.source, models={"attentive": Attentive}))
    model = TorchModel("attentive", Attentive())
    made = prune.apply(model, options(allocation="sensitivity", ratio=0.4, epochs=0), own).module
    widths = {made.attention.query.out_features, made.attention.value.out_features}
    assert len(widths) == 1 and widths.pop() in (4, 8, 12)
    assert 8 <= made.widen.out_features < 24
    assert made(torch.rand(3, 1, 8, 8)).shape == (3, 10)


class Counting(nn.Module):
    """Holds a width beside its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.width = 16
        self.first, self.second = nn.Linear(64, 16), nn.Linear(16, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.second(self.first(images.flatten(1)).reshape(-1, self.width))
        return scores


class Tied(nn.Module):
    """Two layers of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.answer = nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = self.second(self.first(images.flatten(1)).relu()).relu()
        scores: torch.Tensor = self.answer(hidden)
        return scores


@pytest.mark.parametrize(
    ("network", "given", "sentence"),
    [
        (Counting, {}, "no channels can be taken out|does not work at other widths"),
        (Tied, {}, "no channels can be taken out|share a weight"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), {}, "no channel of the network"),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.LayerNorm(64)),
            {"kind": "2:4"},
            "no layer to take weights from",
        ),
    ],
)
def test_a_network_that_cannot_be_pruned_is_told_in_a_sentence(
    work: Work, network: Callable[[], nn.Module], given: dict[str, object], sentence: str
) -> None:
    own = replace(work, source=replace(work.source, models={"odd": network}))
    with pytest.raises(BadInput, match=sentence):
        prune.apply(TorchModel("odd", network()), options(epochs=0, **given), own)


def test_weights_that_are_no_numbers_are_refused(work: Work) -> None:
    network = work.source.build("teacher", 0)
    with torch.no_grad():
        network[4].bias[0] = torch.inf
    with pytest.raises(BadInput, match=r"weights '4\.bias' of the network 'teacher'"):
        prune.apply(TorchModel("teacher", network), options(), work)


def test_what_makes_no_sense_is_refused_early(work: Work) -> None:
    with pytest.raises(BadInput, match="leave out ratio"):
        prune.check(options(kind="2:4", ratio=0.7), work.source)
    with pytest.raises(BadInput, match="hints names the layer 'tail'"):
        prune.check(options(hints={"tail": "0"}), work.source)
    with pytest.raises(BadInput, match="its fine-tuning would fill them"):
        prune.check_after(options(), (PassStep("prune", {"kind": "2:4"}),))
    prune.check_after(options(), (PassStep("prune", {"kind": "structured"}),))
    for name, values in prune.searched(work.source).items():
        for value in values:
            prune.check(options(**{name: value}), work.source)


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
