"""Training repeats itself to the bit, and keeps its best epoch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_recipe
import torch
from torch import nn

from compilers.contracts import Work
from compilers.datasets import Data
from compilers.source import Source
from compilers.training.lessons import Lesson, Teaching
from compilers.training.loop import train
from compilers.training.schedule import Schedule
from compilers.training.yardstick import yardstick
from model_repo.errors import BadInput

SCHEDULE = Schedule(epochs=3, learning_rate=0.01, batch_size=32)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    return tiny_recipe.materials(tmp_path_factory.mktemp("tiny")).work({})


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_the_same_seed_gives_the_same_bits(work: Work) -> None:
    networks = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        network = nn.Sequential(work.source.build("teacher", 0), nn.Dropout(0.2))
        train(network, SCHEDULE, work, "it")
        networks.append(network)
    assert same(*networks)


def test_learns_and_says_what_validation_data_says(work: Work) -> None:
    said: list[str] = []
    network = work.source.build("teacher", 0)
    measure = yardstick(work, work.validation).measure
    before = measure(network)[0]
    told = Work(work.source, work.train, work.validation, work.calibration, 0, said.append)
    after = train(network, SCHEDULE, told, "teacher")
    assert after > before + 0.2
    assert after == measure(network)[0]
    assert not network.training
    # The best epoch is kept, whichever it was.
    assert f"{after:.3f}" == max(line.rpartition(" ")[2] for line in said)
    assert said[0].startswith("teacher, epoch 1 of 3")


def test_no_epochs_leave_the_weights_alone(work: Work) -> None:
    network = work.source.build("teacher", 0)
    train(network, Schedule(epochs=0), work, "teacher")
    assert same(network, work.source.build("teacher", 0))


def test_a_batch_larger_than_the_data_is_the_data(work: Work) -> None:
    network = work.source.build("student", 0)
    train(network, Schedule(epochs=1, batch_size=100_000), work, "student")
    assert not same(network, work.source.build("student", 0))


def test_a_student_follows_its_teacher(work: Work) -> None:
    """With soft targets alone, a student learns what its teacher says, right or wrong."""

    class Stubborn(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.eye(10)[3].repeat(len(images), 1) * 9

    student = work.source.build("student", 0)
    train(
        student,
        Schedule(epochs=8, learning_rate=0.05),
        replace(work, metric="agreement", reference=Stubborn),
        "x",
        Teaching(Stubborn(), Lesson(temperature=1.0, soft_weight=1.0)),
    )
    (images,) = (torch.from_numpy(array) for array in work.train.inputs.values())
    assert (student(images).argmax(1) == 3).float().mean() > 0.9


def test_refuses_data_without_labels(tmp_path: Path) -> None:
    bare = Data({"x": np.zeros((9, 2), np.float32)})
    work = Work(Source(tmp_path, {}, lambda: bare), bare, bare, bare, 0)
    with pytest.raises(BadInput, match=r"no labels.*epochs to 0"):
        train(nn.Linear(2, 2), SCHEDULE, work, "x")


def test_without_labels_a_network_comes_near_to_the_reference(work: Work) -> None:
    """By the cosine of its answers; the teacher is asked, the labels are not there."""
    teacher = work.source.build("student", 1)
    bare = [Data(part.inputs) for part in (work.train, work.validation, work.calibration)]
    own = Work(work.source, *bare, 0, metric="cosine", reference=lambda: teacher)
    student = work.source.build("student", 0)
    before = yardstick(own, own.validation).measure(student)[0]
    after = train(student, SCHEDULE, own, "x", Teaching(teacher, Lesson()))
    assert before < 0.5 < 0.85 < after <= 1


def test_keeps_the_weights_it_was_given_if_no_epoch_is_better(work: Work) -> None:
    teacher = work.source.build("student", 1)
    own = replace(work, metric="agreement", reference=lambda: teacher)
    student = work.source.build("student", 1)
    assert train(student, SCHEDULE, own, "x") == 1
    assert same(student, teacher)


def test_refuses_weights_that_are_no_numbers_given_or_come_to(work: Work) -> None:
    network = work.source.build("student", 0)
    with pytest.raises(BadInput, match=r"after epoch 1 .* no numbers any more: lower learning"):
        with torch.no_grad():
            network[1].weight.fill_(1e38)
        train(network, Schedule(epochs=1, learning_rate=1.0), work, "x")
    with torch.no_grad():
        network[1].weight[0, 0] = torch.nan
    with pytest.raises(BadInput, match=r"weights '1\.weight' of the network 'x' hold values"):
        train(network, SCHEDULE, work, "x")


def test_refuses_too_few_rows(work: Work) -> None:
    one = replace(work, train=work.train.take(slice(1)))
    with pytest.raises(BadInput, match="leave 1 rows to train on, and it takes 2"):
        train(work.source.build("student", 0), SCHEDULE, one, "x")
