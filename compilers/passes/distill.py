"""Train a smaller network of the source to answer as the model does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from compilers.contracts import Form, Work
from compilers.forms import TorchModel
from compilers.schedule import Schedule
from compilers.source import Source
from compilers.training import Teaching, train

if TYPE_CHECKING:
    from torch import nn

FORM: Form = "torch"
LIBRARIES = ("numpy", "safetensors", "torch")


class Options(Schedule, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """student: a network of the source. temperature, soft_weight: see `distillation_loss`."""

    student: str
    temperature: Annotated[float, Meta(gt=0, le=100)] = 3.0
    soft_weight: Annotated[float, Meta(ge=0, le=1)] = 0.7


def check(options: Options, source: Source) -> None:
    """Raise BadInput unless the source has the student."""
    source.check_model(options.student, "distill, student")


def apply(model: TorchModel, options: Options, work: Work) -> TorchModel:
    """The student, taught by `model` or trained on the labels alone, whichever is better.

    Teaching does not always win, so both are trained from the same first weights, and validation
    data decides; a tie goes to the taught one.
    """
    teaching = Teaching(model.module.eval(), options.temperature, options.soft_weight)
    taught, taught_accuracy = _trained(options, work, "taught", teaching)
    plain, plain_accuracy = _trained(options, work, "plain", None)
    keeps_taught = taught_accuracy >= plain_accuracy
    work.notes.update(
        {
            "distill.taught_validation_accuracy": taught_accuracy,
            "distill.plain_validation_accuracy": plain_accuracy,
            "distill.kept": "taught" if keeps_taught else "plain",
        }
    )
    return TorchModel(options.student, taught if keeps_taught else plain)


def _trained(
    options: Options, work: Work, how: str, teaching: Teaching | None
) -> tuple[nn.Module, float]:
    student = work.source.build(options.student, work.seed)
    return student, train(student, options, work, f"{options.student}, {how}", teaching)
