"""Training repeats itself to the bit, and keeps its best epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_recipe
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compilers.contracts import Work
from compilers.datasets import Data
from compilers.schedule import Schedule
from compilers.source import Source
from compilers.training import Teaching, distillation_loss, evaluate, train
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
    before = evaluate(network, work.validation)[0]
    told = Work(work.source, work.train, work.validation, work.calibration, 0, said.append)
    after = train(network, SCHEDULE, told, "teacher")
    assert after > before + 0.2
    assert after == evaluate(network, work.validation)[0]
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
        work,
        "x",
        Teaching(Stubborn(), temperature=1.0, soft_weight=1.0),
    )
    (images,) = (torch.from_numpy(array) for array in work.train.inputs.values())
    assert (student(images).argmax(1) == 3).float().mean() > 0.9


@settings(max_examples=30, deadline=None)
@given(st.floats(0.5, 8), st.floats(0, 1), st.integers(0, 99))
def test_the_loss_is_hintons(temperature: float, weight: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    given_, wanted = rng.normal(size=(2, 5, 4))
    labels = rng.integers(4, size=5)

    def softmax(values: np.ndarray) -> np.ndarray:
        powers = np.exp(values - values.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    p, q = softmax(wanted / temperature), softmax(given_ / temperature)
    soft = (p * np.log(p / q)).sum(1).mean() * temperature**2
    hard = -np.log(softmax(given_)[np.arange(5), labels]).mean()
    loss = distillation_loss(
        torch.from_numpy(given_),
        torch.from_numpy(wanted),
        torch.from_numpy(labels),
        Teaching(nn.Identity(), temperature, weight),
    )
    assert float(loss) == pytest.approx(weight * soft + (1 - weight) * hard, rel=1e-5)


def test_refuses_data_without_labels(tmp_path: Path) -> None:
    bare = Data({"x": np.zeros((9, 2), np.float32)})
    work = Work(Source(tmp_path, {}, lambda: bare), bare, bare, bare, 0)
    with pytest.raises(BadInput, match=r"no labels.*epochs to 0"):
        train(nn.Linear(2, 2), SCHEDULE, work, "x")
