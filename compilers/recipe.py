"""A recipe: which passes, for which targets, on which data, make the variants of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta, Struct, structs

from compilers.cascades.conformal import fewest_rows
from compilers.training.schedule import Schedule
from model_repo.documents import parse
from model_repo.errors import BadInput
from model_repo.fields import convert
from model_repo.names import check_name
from model_repo.records import Metric, PassStep

Rows = Annotated[int, Meta(ge=1)]


class SourceSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the networks and the data come from.

    module: a Python file beside the recipe. model: the network to compile, a name of the file's
    `MODELS`. libraries: packages the file needs; another version of one makes another model.
    """

    model: str
    module: str = "source.py"
    training: Schedule = Schedule()
    libraries: tuple[str, ...] = ()


class SplitSizes(Struct, frozen=True, forbid_unknown_fields=True):
    """Rows of each split; what they leave over is trained on."""

    validation: Rows
    calibration: Rows
    held_out: Rows
    conformal: Annotated[int, Meta(ge=0)] = 0


class CascadeSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """Which cascades to look for among the variants.

    risk: largest share of answers that a cascade may get wrong and its second stage would not
    have, in expectation. pairs: (first, second), shelved names; empty for every pair that may pay.
    """

    risk: Annotated[float, Meta(gt=0, lt=1)] = 0.01
    pairs: tuple[tuple[str, str], ...] = ()


class Aim(Struct, frozen=True, forbid_unknown_fields=True):
    """A target, and what it is asked for."""

    name: str
    options: dict[str, Any] = {}


class Way(Struct, frozen=True, forbid_unknown_fields=True):
    """How a variant is made: its passes, in order; for which targets, None for all asked for."""

    passes: tuple[PassStep, ...]
    targets: tuple[Aim, ...] | None = None


CPU = Aim("cpu")


class Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """One recipe file; `targets` are those it is compiled for unless others are asked for."""

    model: str
    source: SourceSpec
    splits: SplitSizes
    variants: dict[str, Way]
    version: str = "1"
    seed: Annotated[int, Meta(ge=0, lt=2**32)] = 0
    metric: Metric = "accuracy"
    batch_sizes: tuple[Rows, ...] = (1, 2, 4, 8, 16, 32)
    targets: tuple[Aim, ...] = (CPU,)
    formats: tuple[str, ...] = ()
    cascades: CascadeSpec | None = None

    @property
    def reference(self) -> str:
        """The one variant without passes."""
        return next(name for name, way in self.variants.items() if not way.passes)

    def aims(self, variant: str) -> tuple[Aim, ...]:
        """What a variant is to be made for, of the recipe's targets; its own options win."""
        own = self.variants[variant].targets
        if own is None:
            return self.targets
        asked = {aim.name: aim.options for aim in self.targets}
        return tuple(
            Aim(aim.name, {**asked[aim.name], **aim.options}) for aim in own if aim.name in asked
        )


def parse_recipe(text: str, name: str) -> Recipe:
    """Read a recipe from YAML; raises BadInput naming the key that is wrong and what is allowed."""
    document = parse(text, dict[str, Any], name)
    variants = document.get("variants")
    if isinstance(variants, dict):
        named = {key: _read_way(way, f"{name}: variant {key!r}") for key, way in variants.items()}
        document = {**document, "variants": named}
    if "targets" in document:
        document = {**document, "targets": _read_aims(document["targets"], name)}
    recipe = convert(document, Recipe, name)
    try:
        _check(recipe)
    except BadInput as error:
        raise BadInput(f"{name}: {error}") from error
    return recipe


def for_targets(recipe: Recipe, names: Sequence[str]) -> Recipe:
    """The recipe for these targets in place of its own, asked as it asks them.

    Raises BadInput if the CPU is not among them, or one is named twice.
    """
    known = {aim.name: aim for aim in recipe.targets}
    asked = structs.replace(recipe, targets=tuple(known.get(name, Aim(name)) for name in names))
    _check_targets(asked.targets, "--targets")
    return asked


def _read_way(way: Any, where: str) -> dict[str, Any]:
    """A list of passes, or a mapping of `passes` and `targets`."""
    if not isinstance(way, dict):
        return {"passes": _read_steps(way, where)}
    unknown = sorted(way.keys() - {"passes", "targets"})
    if unknown or "passes" not in way:
        raise BadInput(
            f"{where} has the keys {', '.join(way)}: give a list of passes, or passes and targets"
        )
    read: dict[str, Any] = {"passes": _read_steps(way["passes"], where)}
    if "targets" in way:
        read["targets"] = _read_aims(way["targets"], where)
    return read


def _read_steps(steps: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(steps, list):
        raise BadInput(f"{where} is {steps!r}: give a list of passes, [] for the reference")
    return [_read_step(step, where, "pass") for step in steps]


def _read_aims(aims: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(aims, list) or not aims:
        raise BadInput(f"{where}: targets is {aims!r}: give a list of one target or more")
    return [_read_step(aim, where, "target") for aim in aims]


def _read_step(step: Any, where: str, kind: str) -> dict[str, Any]:
    """`quantize` and `quantize: {mode: dynamic}` both name a pass; targets are named alike."""
    if isinstance(step, str):
        return {"name": step}
    if not isinstance(step, dict) or len(step) != 1:
        word = kind.upper()
        raise BadInput(f"{where}: {step!r} is no {kind}: write {word} or {word}: {{option: value}}")
    ((name, options),) = step.items()
    if not isinstance(options, dict | None):
        raise BadInput(f"{where}: the options of {name!r} are {options!r}: give a mapping of them")
    return {"name": name, "options": options or {}}


def _check(recipe: Recipe) -> None:
    check_name(recipe.model, "model")
    check_name(recipe.version, "version")
    for name in recipe.variants:
        check_name(name, "variant")
        for aim in recipe.aims(name):
            check_name(f"{aim.name}-{name}", "shelved variant")
    bare = [name for name, way in recipe.variants.items() if not way.passes]
    if len(bare) != 1:
        raise BadInput(
            f"variants without passes: {', '.join(bare) or 'none'}; give exactly one, [], "
            "as the reference the others are measured against"
        )
    _check_targets(recipe.targets, "targets")
    if CPU.name not in {aim.name for aim in recipe.aims(recipe.reference)}:
        raise BadInput(
            f"variant {recipe.reference!r} is the reference, and its targets leave out 'cpu', "
            "where the others are measured against it: add it"
        )
    sizes = recipe.batch_sizes
    if sizes[:1] != (1,) or list(sizes) != sorted(set(sizes)):
        raise BadInput(f"batch_sizes is {list(sizes)}: give rising sizes, the first of them 1")
    if recipe.cascades is not None:
        _check_cascades(recipe, recipe.cascades.risk)


def _check_targets(aims: Sequence[Aim], where: str) -> None:
    names = [aim.name for aim in aims]
    if CPU.name not in names or len(set(names)) < len(names):
        raise BadInput(f"{where} is {names}: name each once, 'cpu' (the reference) among them")


def _check_cascades(recipe: Recipe, risk: float) -> None:
    if recipe.metric == "cosine":
        raise BadInput(
            "metric is 'cosine', by which no answer is right or wrong, so that cascades cannot be "
            "judged: choose the metric 'accuracy' or 'agreement', or leave cascades out"
        )
    rows, fewest = recipe.splits.conformal, fewest_rows(risk)
    if rows < fewest:
        raise BadInput(
            f"splits, conformal is {rows}, but cascades of risk {risk:g} need at least {fewest} "
            "rows to set their thresholds: give as many, or allow more risk"
        )
