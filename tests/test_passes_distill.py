"""Distilling trains both ways, keeps the better, and tells both figures."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny_recipe
import torch
from torch import nn

from compilers.contracts import Work
from compilers.datasets import Data
from compilers.forms import TorchModel
from compilers.passes import distill
from compilers.training.yardstick import yardstick
from model_repo.errors import BadInput
from model_repo.records import PassStep


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Work:
    return tiny_recipe.materials(tmp_path_factory.mktemp("tiny")).work({})


@pytest.mark.parametrize("epochs", [1, 4])
def test_keeps_the_better_on_validation_data(shared: Work, epochs: int) -> None:
    work = replace(shared, notes={"source.x": 1.0})
    options = distill.Options(student="student", epochs=epochs, learning_rate=0.02)
    # An untrained teacher: what it teaches is noise, and plain training should win.
    teacher = TorchModel("teacher", work.source.build("teacher", 0))
    made = distill.apply(teacher, options, work)
    taught = work.notes["distill.taught_validation_accuracy"]
    plain = work.notes["distill.plain_validation_accuracy"]
    assert isinstance(taught, float) and isinstance(plain, float)
    assert work.notes["distill.kept"] == ("taught" if taught >= plain else "plain")
    assert yardstick(work, work.validation).measure(made.module)[0] == max(taught, plain)
    assert made.network == "student"
    assert work.notes["source.x"] == 1.0


def test_an_unknown_student_is_refused_early(shared: Work) -> None:
    with pytest.raises(BadInput, match=r"distill, student is 'none'.*student, teacher"):
        distill.check(distill.Options(student="none"), shared.source)


def test_without_labels_the_teacher_is_all_there_is(shared: Work) -> None:
    teacher = shared.source.build("teacher", 0)
    bare = [Data(part.inputs) for part in (shared.train, shared.validation, shared.calibration)]
    work = Work(shared.source, *bare, 0, metric="cosine", reference=lambda: teacher)
    options = distill.Options(student="student", epochs=3, learning_rate=0.02)
    distill.apply(TorchModel("teacher", teacher), options, work)
    assert work.notes["distill.kept"] == "taught: there are no labels to train it plainly on"
    assert "distill.plain_validation_cosine" not in work.notes
    taught = work.notes["distill.taught_validation_cosine"]
    assert isinstance(taught, float) and taught > 0.5
    with pytest.raises(BadInput, match="confidence_weight needs answers that decide"):
        sure = distill.Options(student="student", confidence_weight=0.5)
        distill.apply(TorchModel("teacher", teacher), sure, work)


def test_a_student_starts_from_what_it_inherits(shared: Work) -> None:
    teacher = shared.source.build("teacher", 5)
    options = distill.Options(student="teacher", inherit={"0": "0", "1": "1"}, epochs=0)
    made = distill.apply(TorchModel("teacher", teacher), options, replace(shared, notes={}))
    assert torch.equal(made.module[0].weight, teacher[0].weight)
    assert not torch.equal(made.module[4].weight, teacher[4].weight)
    whole = distill.Options(student="teacher", inherit={"": ""}, epochs=0)
    made = distill.apply(TorchModel("teacher", teacher), whole, replace(shared, notes={}))
    assert torch.equal(made.module[4].weight, teacher[4].weight)


@pytest.mark.parametrize(
    ("inherit", "named"), [({"1": "4"}, r"\[10, 64\].*\[10, 128\]"), ({"1": "9"}, "not there")]
)
def test_refuses_to_inherit_what_does_not_fit(
    shared: Work, inherit: dict[str, str], named: str
) -> None:
    teacher = TorchModel("teacher", shared.source.build("teacher", 0))
    options = distill.Options(student="student", inherit=inherit, epochs=0)
    with pytest.raises(BadInput, match=f"inherit gives the part '1'.*{named}"):
        distill.apply(teacher, options, replace(shared, notes={}))


def test_hints_are_followed_through_a_lens(shared: Work) -> None:
    teacher = TorchModel("teacher", shared.source.build("teacher", 0))
    work = replace(shared, notes={})
    options = distill.Options(
        student="student", hints={"4": "1"}, hint_weight=2.0, epochs=1, soft_weight=1.0
    )
    distill.check(options, work.source)
    distill.apply(teacher, options, work)
    assert "distill.kept" in work.notes
    with pytest.raises(BadInput, match=r"hints names the layer 'tail'.*choose from 0, 1"):
        distill.check(distill.Options(student="student", hints={"4": "tail"}), work.source)
    with pytest.raises(BadInput, match=r"hints names the layer 'tail'.*choose from 0, 1, 2, 3, 4"):
        distill.check(distill.Options(student="student", hints={"tail": "1"}), work.source)
    with pytest.raises(BadInput, match="hints names the layer '7'"):
        strange = distill.Options(student="student", hints={"7": "1"}, epochs=1)
        distill.apply(teacher, strange, work)


def test_a_layer_that_gives_no_single_tensor_is_refused(shared: Work) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru, self.answer = nn.GRU(8, 12, batch_first=True), nn.Linear(12, 10)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = self.answer(self.gru(images[:, 0])[0][:, -1])
            return scores

    teacher = TorchModel("recurrent", Recurrent())
    options = distill.Options(student="student", hints={"gru": "1"}, epochs=1)
    with pytest.raises(BadInput, match=r"the layer 'gru', which gives tuple, no single tensor"):
        distill.apply(teacher, options, replace(shared, notes={}))


def test_a_pruned_teacher_is_refused_unless_the_student_is_the_stronger() -> None:
    before = (PassStep("prune", {"kind": "structured"}),)
    with pytest.raises(BadInput, match="put distill first"):
        distill.check_after(distill.Options(student="student"), before)
    distill.check_after(distill.Options(student="student", confidence_weight=0.5), before)
    distill.check_after(distill.Options(student="student"), (PassStep("distill", {}),))


def test_what_a_search_tries_can_be_asked_for(shared: Work) -> None:
    for name, values in distill.searched(shared.source).items():
        for value in values:
            distill.check(distill.Options(**{"student": "student", name: value}), shared.source)
