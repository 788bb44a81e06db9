"""The losses are what their formulas say, and hints draw a student's layers to its teacher's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compilers.training.hints import Hints, watched
from compilers.training.lessons import Lesson, confident_loss, taught_loss
from model_repo.errors import BadInput


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.5, 8), st.floats(0, 1), st.integers(0, 99), st.booleans())
def test_the_loss_is_hintons(
    temperature: float, weight: float, seed: int, has_labels: bool
) -> None:
    rng = np.random.default_rng(seed)
    given_, wanted = rng.normal(size=(2, 5, 4))
    labels = rng.integers(4, size=5)
    p, q = softmax(wanted / temperature), softmax(given_ / temperature)
    soft = (p * np.log(p / q)).sum(1).mean() * temperature**2
    hard = -np.log(softmax(given_)[np.arange(5), labels]).mean()
    loss = taught_loss(
        torch.from_numpy(given_),
        torch.from_numpy(wanted),
        torch.from_numpy(labels) if has_labels else None,
        Lesson(temperature=temperature, soft_weight=weight),
        "accuracy",
    )
    expected = weight * soft + (1 - weight) * hard if has_labels else soft
    assert float(loss) == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_answers_judged_by_their_cosine_are_taught_by_it() -> None:
    given_, wanted = torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 4.0]])
    loss = taught_loss(given_, wanted, torch.tensor([1]), Lesson(), "cosine")
    assert float(loss) == pytest.approx(0.4)


@given(st.floats(0, 0.99))
def test_confidence_mixes_in_the_students_own_decision(weight: float) -> None:
    scores = torch.tensor([[2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    own = -np.log(softmax(scores.numpy())[[0, 1], [0, 1]]).mean()
    mixed = confident_loss(torch.tensor(5.0, dtype=torch.float64), scores, weight)
    assert float(mixed) == pytest.approx((1 - weight) * 5 + weight * own)


@pytest.fixture
def networks() -> Iterator[tuple[nn.Module, nn.Module]]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield (
            nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten()),
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten()),
        )


def test_a_hint_is_the_share_of_the_teachers_state_that_the_student_lacks(
    networks: tuple[nn.Module, nn.Module],
) -> None:
    teacher, _ = networks
    images = torch.rand(2, 1, 4, 4)
    with watched(teacher, ["0"]) as told, watched(teacher, ["1"]) as seen:
        teacher(images)
        hints = Hints({"0": "1"}, told, seen)
        assert list(hints.parameters()) == [], "equal widths need no lens"
        state = teacher[0](images)
        missing = (state.clamp(max=0) ** 2).mean() / (state**2).mean()
        torch.testing.assert_close(hints.loss(), missing)
    teacher(images * 2)
    torch.testing.assert_close(hints.loss(), missing, msg="nothing is watched any more")


def test_a_lens_joins_other_widths_and_is_fitted(networks: tuple[nn.Module, nn.Module]) -> None:
    teacher, student = networks
    images = torch.rand(8, 1, 4, 4)
    with watched(teacher, ["1"]) as told, watched(student, ["1"]) as seen:
        with torch.no_grad():
            teacher(images)
        student(images)
        hints = Hints({"1": "1"}, told, seen)
        fitted = [*student.parameters(), *hints.parameters()]
        assert [list(p.shape) for p in hints.parameters()] == [[6, 4], [6]]
        optimizer = torch.optim.Adam(fitted, lr=0.05)
        before = float(hints.loss().detach())
        for _ in range(100):
            student(images)
            loss = hints.loss()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert float(loss.detach()) < before / 4


def test_refuses_states_of_other_resolutions_and_unknown_layers(
    networks: tuple[nn.Module, nn.Module],
) -> None:
    teacher, student = networks
    images = torch.rand(2, 1, 4, 4)
    with watched(teacher, ["1"]) as told, watched(student, ["2"]) as seen:
        teacher(images), student(images)
        with pytest.raises(BadInput, match=r"\[2, 2, 6\] and \[16\].*one resolution"):
            Hints({"1": "2"}, told, seen)
    unknown = pytest.raises(BadInput, match=r"'tail', which the network does not have.*0, 1, 2")
    with unknown, watched(teacher, ["tail"]):
        pass
