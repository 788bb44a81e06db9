"""What a network learns from: labels, a teacher's answers, and its hidden states."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, field

from compilers.contracts import Work
from compilers.training.hints import Hints, watched
from compilers.training.schedule import Schedule
from compilers.training.yardstick import Inputs, answers, cosines, need
from model_repo.records import Metric

if TYPE_CHECKING:
    from torch import Tensor, nn


class Lesson(Schedule, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to learn from a teacher.

    temperature, soft_weight: see `taught_loss`. hints: a layer of the teacher -> the layer of the
    student that should come near to it, see `Hints`; hint_weight: of their loss beside the other.
    """

    temperature: Annotated[float, Meta(gt=0, le=100)] = 3.0
    soft_weight: Annotated[float, Meta(ge=0, le=1)] = 0.7
    hints: dict[str, str] = field(default_factory=dict)
    hint_weight: Annotated[float, Meta(gt=0, le=1000)] = 1.0


@dataclass(frozen=True)
class Teaching:
    """Whom to learn from, and how; confidence_weight: see `confident_loss`."""

    teacher: nn.Module
    lesson: Lesson
    confidence_weight: float = 0.0


@dataclass(frozen=True)
class View:
    """Training rows: inputs, labels if there are any, and the teacher's answers if known."""

    inputs: Inputs
    labels: Tensor | None
    wanted: Tensor | None = None

    def take(self, rows: Tensor) -> View:
        """The rows named."""
        labels, wanted = (None if t is None else t[rows] for t in (self.labels, self.wanted))
        return View(tuple(tensor[rows] for tensor in self.inputs), labels, wanted)


@dataclass(frozen=True)
class Objective:
    """The loss of a network on a batch."""

    module: nn.Module
    metric: Metric
    teaching: Teaching | None
    hints: Hints | None = None

    def parameters(self) -> list[nn.Parameter]:
        """What is fitted."""
        return [*self.module.parameters(), *(self.hints.parameters() if self.hints else ())]

    def loss(self, batch: View, warmth: float) -> Tensor:
        """warmth: from 0 at the first step to 1 once the learning rate is at its peak."""
        from torch.nn import functional

        given = self.module(*batch.inputs)
        if self.teaching is None:
            return functional.cross_entropy(given, need(batch.labels))
        teaching, wanted = self.teaching, batch.wanted
        if wanted is None:
            wanted = answers(teaching.teacher, batch.inputs)
        loss = taught_loss(given, wanted, batch.labels, teaching.lesson, self.metric)
        if teaching.confidence_weight:
            loss = confident_loss(loss, given, teaching.confidence_weight * warmth)
        if self.hints:
            loss = loss + teaching.lesson.hint_weight * self.hints.loss()
        return loss


@contextmanager
def objective(
    module: nn.Module, work: Work, teaching: Teaching | None, example: Inputs
) -> Iterator[Objective]:
    """The objective; with hints, both networks are watched for as long as the block runs.

    Raises BadInput for hints that do not fit the networks.
    """
    pairs = teaching.lesson.hints if teaching else {}
    if teaching is None or not pairs:
        yield Objective(module, work.metric, teaching)
        return
    with watched(teaching.teacher, pairs) as told, watched(module, pairs.values()) as seen:
        for network in (teaching.teacher, module):
            answers(network, example)
        yield Objective(module, work.metric, teaching, Hints(pairs, told, seen))


def taught_loss(
    given: Tensor, wanted: Tensor, labels: Tensor | None, lesson: Lesson, metric: Metric
) -> Tensor:
    """How far the answers are from the teacher's, and from the labels if there are any.

    Scores: w T^2 KL(teacher at T || student at T) + (1 - w) cross entropy with the labels, w = 1
    without labels. Hinton, Vinyals and Dean 2015 (arXiv:1503.02531), section 2: T^2 keeps the two
    gradients in proportion when the temperature T changes. w is `soft_weight`. Answers judged by
    their cosine are no scores: 1 - cosine, and labels do not count.
    """
    from torch.nn import functional

    if metric == "cosine":
        return 1 - cosines(given, wanted).mean()
    soft = functional.kl_div(
        functional.log_softmax(given.flatten(0, -2) / lesson.temperature, 1),
        functional.log_softmax(wanted.flatten(0, -2) / lesson.temperature, 1),
        log_target=True,
        reduction="batchmean",
    )
    weight = 1.0 if labels is None else lesson.soft_weight
    loss = weight * lesson.temperature**2 * soft
    if labels is not None and weight < 1:
        loss = loss + (1 - weight) * functional.cross_entropy(given, labels)
    return loss


def confident_loss(loss: Tensor, given: Tensor, weight: float) -> Tensor:
    """(1 - a) loss + a cross entropy with the student's own decisions, a being `weight`.

    For a student stronger than its teacher (weak to strong: Burns et al. 2023, arXiv:2312.09390,
    section 4.3): it may hold on to what it is sure of against the teacher's mistakes.
    """
    from torch.nn import functional

    scores = given.flatten(0, -2)
    own = functional.cross_entropy(scores, scores.detach().argmax(1))
    return (1 - weight) * loss + weight * own
