"""Distilling trains both ways, keeps the better, and tells both figures."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny_recipe

from compilers.contracts import Work
from compilers.forms import TorchModel
from compilers.passes import distill
from compilers.training import evaluate
from model_repo.errors import BadInput


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
    assert evaluate(made.module, work.validation)[0] == max(taught, plain)
    assert made.network == "student"
    assert work.notes["source.x"] == 1.0


def test_an_unknown_student_is_refused_early(shared: Work) -> None:
    with pytest.raises(BadInput, match=r"distill, student is 'none'.*student, teacher"):
        distill.check(distill.Options(student="none"), shared.source)
