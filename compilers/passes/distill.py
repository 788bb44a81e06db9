"""Train another network of the source to answer as the model does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, field

from compilers.contracts import Form, Work
from compilers.forms import TorchModel
from compilers.source import Source
from compilers.training.hints import check_layer, layers_of
from compilers.training.lessons import Lesson, Teaching
from compilers.training.loop import train
from model_repo.errors import BadInput
from model_repo.records import PassStep

if TYPE_CHECKING:
    from torch import Tensor, nn

TAKES: Form = "torch"
GIVES: Form = "torch"
LIBRARIES = ("numpy", "safetensors", "torch")


class Options(Lesson, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """student: a network of the source, smaller or larger.

    inherit: a part of the student -> the part of the model whose weights it starts from, by the
    names of modules; `""` is the whole. confidence_weight: for a student stronger than its teacher,
    see `confident_loss`.
    """

    student: str
    inherit: dict[str, str] = field(default_factory=dict)
    confidence_weight: Annotated[float, Meta(ge=0, lt=1)] = 0.0


def check(options: Options, source: Source) -> None:
    """Raise BadInput unless the source has the student, and the networks the layers named."""
    source.check_model(options.student, "distill, student")
    if options.hints:
        known = layers_of(source.build(name, 0) for name in source.models)
        for name in options.hints:
            check_layer(name, known)
        own = layers_of([source.build(options.student, 0)])
        for name in options.hints.values():
            check_layer(name, own)


def check_after(options: Options, before: Sequence[PassStep]) -> None:
    """Raise BadInput if a pruned network is to teach a smaller one."""
    if any(step.name == "prune" for step in before) and not options.confidence_weight:
        raise BadInput(
            "distill comes after prune, but its student is another network: what was pruned would "
            "be thrown away, and a lesser teacher kept; put distill first"
        )


def searched(source: Source) -> Mapping[str, Sequence[Any]]:
    """What a search should try."""
    return {
        "student": tuple(source.models),
        "temperature": (1.0, 3.0, 6.0),
        "soft_weight": (0.5, 0.7, 0.9),
    }


def apply(model: TorchModel, options: Options, work: Work) -> TorchModel:
    """The student, taught by `model` or trained on the labels alone, whichever is better.

    Teaching does not always win, so both are trained from the same first weights, and validation
    data decides; a tie goes to the taught one. Without labels, or where answers are judged by their
    direction, there is nothing to train on but the teacher.
    """
    if options.confidence_weight and work.metric == "cosine":
        raise BadInput(
            "distill: confidence_weight needs answers that decide between classes, and these are "
            "judged by their cosine: set it to 0"
        )
    teaching = Teaching(model.module.eval(), options, options.confidence_weight)
    taught, taught_score = _trained(model, options, work, teaching)
    work.notes[f"distill.taught_validation_{work.metric}"] = taught_score
    if work.train.labels is None or work.metric == "cosine":
        work.notes["distill.kept"] = "taught: there are no labels to train it plainly on"
        return TorchModel(options.student, taught)
    plain, plain_score = _trained(model, options, work, None)
    work.notes[f"distill.plain_validation_{work.metric}"] = plain_score
    keeps_taught = taught_score >= plain_score
    work.notes["distill.kept"] = "taught" if keeps_taught else "plain"
    return TorchModel(options.student, taught if keeps_taught else plain)


def _trained(
    model: TorchModel, options: Options, work: Work, teaching: Teaching | None
) -> tuple[nn.Module, float]:
    student = work.source.build(options.student, work.seed)
    for own, given in options.inherit.items():
        _inherit(student, own, model.module, given)
    label = f"{options.student}, {'taught' if teaching else 'plain'}"
    return student, train(student, options, work, label, teaching)


def _inherit(student: nn.Module, own: str, teacher: nn.Module, given: str) -> None:
    """Copy the weights of one part; raises BadInput unless there are such parts, alike."""
    target, source = _weights(student, own), _weights(teacher, given)
    shapes = [{name: list(t.shape) for name, t in part.items()} for part in (target, source)]
    if not target or shapes[0] != shapes[1]:
        raise BadInput(
            f"distill: inherit gives the part {own!r} of the student the weights of {given!r}, but "
            f"they are {shapes[0] or 'not there'} and {shapes[1] or 'not there'}: name parts that "
            "are alike"
        )
    for name, tensor in target.items():
        tensor.copy_(source[name])


def _weights(module: nn.Module, part: str) -> dict[str, Tensor]:
    """Those of the part, by their names within it."""
    prefix = f"{part}." if part else ""
    state = module.state_dict()
    return {name.removeprefix(prefix): state[name] for name in state if name.startswith(prefix)}
