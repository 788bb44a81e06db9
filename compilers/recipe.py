"""A recipe: which passes, for which targets, on which data, make the variants of a model."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

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


class Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """One recipe file; `variants` holds the passes of each variant, in order."""

    model: str
    source: SourceSpec
    splits: SplitSizes
    variants: dict[str, tuple[PassStep, ...]]
    version: str = "1"
    seed: Annotated[int, Meta(ge=0, lt=2**32)] = 0
    metric: Metric = "accuracy"
    batch_sizes: tuple[Rows, ...] = (1, 2, 4, 8, 16, 32)
    targets: tuple[str, ...] = ("cpu",)
    formats: tuple[str, ...] = ()
    cascades: CascadeSpec | None = None

    @property
    def reference(self) -> str:
        """The one variant without passes."""
        return next(name for name, steps in self.variants.items() if not steps)


def parse_recipe(text: str, name: str) -> Recipe:
    """Read a recipe from YAML; raises BadInput naming the key that is wrong and what is allowed."""
    document = parse(text, dict[str, Any], name)
    variants = document.get("variants")
    if isinstance(variants, dict):
        named = {
            key: _read_steps(steps, f"{name}: variant {key!r}") for key, steps in variants.items()
        }
        document = {**document, "variants": named}
    recipe = convert(document, Recipe, name)
    try:
        _check(recipe)
    except BadInput as error:
        raise BadInput(f"{name}: {error}") from error
    return recipe


def _read_steps(steps: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(steps, list):
        raise BadInput(f"{where} is {steps!r}: give a list of passes, [] for the reference")
    return [_read_step(step, where) for step in steps]


def _read_step(step: Any, where: str) -> dict[str, Any]:
    """`quantize` and `quantize: {mode: dynamic}` both name a pass."""
    if isinstance(step, str):
        return {"name": step}
    if not isinstance(step, dict) or len(step) != 1:
        raise BadInput(f"{where}: {step!r} is no pass: write PASS or PASS: {{option: value}}")
    ((name, options),) = step.items()
    if not isinstance(options, dict | None):
        raise BadInput(f"{where}: the options of {name!r} are {options!r}: give a mapping of them")
    return {"name": name, "options": options or {}}


def _check(recipe: Recipe) -> None:
    check_name(recipe.model, "model")
    check_name(recipe.version, "version")
    for name in recipe.variants:
        for target in recipe.targets:
            check_name(name, "variant")
            check_name(f"{target}-{name}", "shelved variant")
    bare = [name for name, steps in recipe.variants.items() if not steps]
    if len(bare) != 1:
        raise BadInput(
            f"variants without passes: {', '.join(bare) or 'none'}; give exactly one, [], "
            "as the reference the others are measured against"
        )
    if "cpu" not in recipe.targets or len(set(recipe.targets)) < len(recipe.targets):
        raise BadInput(
            f"targets is {list(recipe.targets)}: name each once, 'cpu' (the reference) among them"
        )
    sizes = recipe.batch_sizes
    if sizes[:1] != (1,) or list(sizes) != sorted(set(sizes)):
        raise BadInput(f"batch_sizes is {list(sizes)}: give rising sizes, the first of them 1")
    if recipe.cascades is not None:
        _check_cascades(recipe, recipe.cascades.risk)


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
