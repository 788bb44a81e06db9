"""Check a recipe against the passes and targets there are, before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import msgspec
from msgspec import structs

from compilers.contracts import Form, Format, Pass, Target
from compilers.recipe import Recipe, parse_recipe
from compilers.source import sha256_of_source
from model_repo import plugins
from model_repo.errors import BadInput, NotFound
from model_repo.fields import convert
from model_repo.files import read_text
from model_repo.names import check_name
from model_repo.records import Kind, Model, PassStep, VariantKey

PASSES, TARGETS = "compilers.passes", "compilers.targets"
CPU = ("cpu", "")
"""The target and the suffix of the format that the reference is in."""


@dataclass(frozen=True)
class ChosenPass:
    """A pass with its options, checked."""

    name: str
    module: Pass
    options: Any

    @property
    def record(self) -> PassStep:
        """What a manifest says of it: every option, given or not."""
        return PassStep(self.name, msgspec.to_builtins(self.options))


@dataclass(frozen=True)
class PlannedVariant:
    """A variant that is to be shelved as `key`; `name` is the recipe's.

    Those of one name and target are the same model in several formats.
    """

    key: VariantKey
    kind: Kind
    name: str
    target: Target
    artifact_format: str
    passes: tuple[ChosenPass, ...]

    @property
    def format(self) -> Format:
        """What its target says of its format."""
        return self.target.FORMATS[self.artifact_format]

    def answering(self, model: Model) -> Model:
        """The model as this variant answers it: measured, hence served, a row at a time if rows
        sway each other."""
        if rows_sway(chosen.record for chosen in self.passes):
            return structs.replace(model, batches=False)
        return model


@dataclass(frozen=True)
class Plan:
    """A checked recipe; the reference is the first of its variants."""

    recipe: Recipe
    source_path: Path
    source_sha256: str
    variants: tuple[PlannedVariant, ...]


def read_plan(path: Path) -> Plan:
    """The plan of the recipe file at `path`; raises BadInput for whatever is wrong in it."""
    recipe = parse_recipe(read_text(path, "the recipe"), str(path))
    try:
        variants = tuple(_plan_variants(recipe))
    except (BadInput, NotFound) as error:
        raise BadInput(f"{path}: {error}") from error
    source_path = path.parent / recipe.source.module
    return Plan(recipe, source_path, sha256_of_source(source_path), variants)


def extend(plan: Plan, variants: Mapping[str, tuple[PassStep, ...]]) -> Plan:
    """The plan with more variants in its recipe; raises BadInput for what makes no sense."""
    recipe = structs.replace(plan.recipe, variants={**plan.recipe.variants, **variants})
    return replace(plan, recipe=recipe, variants=tuple(_plan_variants(recipe)))


def rows_sway(steps: Iterable[PassStep]) -> bool:
    """Whether rows answered together sway each other: one range serves a whole batch."""
    return any(step.name == "quantize" and step.options.get("mode") == "dynamic" for step in steps)


def _plan_variants(recipe: Recipe) -> list[PlannedVariant]:
    targets = [cast(Target, plugins.load(TARGETS, name)) for name in recipe.targets]
    _check_formats(recipe, targets)
    planned: dict[VariantKey, PlannedVariant] = {}
    for name, steps in recipe.variants.items():
        passes = _choose_all(steps, name)
        for target in targets:
            for artifact_format, form in target.FORMATS.items():
                is_reference = name == recipe.reference and (target.TARGET, form.suffix) == CPU
                if not is_reference and artifact_format not in (recipe.formats or target.FORMATS):
                    continue
                _check_forms(name, passes, artifact_format, form.form)
                shelved = "-".join(part for part in (target.TARGET, name, form.suffix) if part)
                key = VariantKey(recipe.model, recipe.version, check_name(shelved, "variant"))
                if key in planned:
                    raise BadInput(
                        f"variants {planned[key].name!r} and {name!r} would both be shelved as "
                        f"{shelved!r}: rename one of them"
                    )
                kind: Kind = "reference" if is_reference else "variant"
                planned[key] = PlannedVariant(key, kind, name, target, artifact_format, passes)
    return sorted(planned.values(), key=lambda variant: variant.kind != "reference")


def _check_formats(recipe: Recipe, targets: Iterable[Target]) -> None:
    known = sorted({name for target in targets for name in target.FORMATS})
    for name in recipe.formats:
        if name not in known:
            raise BadInput(
                f"formats names {name!r}: choose from {', '.join(known)}, those of the targets, or "
                "leave formats out for all of them"
            )
    for target in targets:
        if recipe.formats and not set(recipe.formats) & target.FORMATS.keys():
            raise BadInput(
                f"formats is {list(recipe.formats)}, which leaves none for the target "
                f"{target.TARGET!r}: add one of {', '.join(target.FORMATS)}"
            )


def _choose_all(steps: Iterable[PassStep], variant: str) -> tuple[ChosenPass, ...]:
    chosen: list[ChosenPass] = []
    for step in steps:
        made = _choose(step, variant)
        before = tuple(each.record for each in chosen)
        try:
            # A pass that makes sense after every other defines no check.
            getattr(made.module, "check_after", _accept)(made.options, before)
        except BadInput as error:
            raise BadInput(f"variant {variant!r}: {error}") from error
        chosen.append(made)
    return tuple(chosen)


def _accept(options: Any, before: tuple[PassStep, ...]) -> None:
    """Nothing to check."""


def _choose(step: PassStep, variant: str) -> ChosenPass:
    try:
        module = cast(Pass, plugins.load(PASSES, step.name))
    except NotFound as error:
        raise BadInput(f"variant {variant!r}: {error}") from error
    options = convert(step.options, module.Options, f"variant {variant!r}: pass {step.name!r}")
    return ChosenPass(step.name, module, options)


def _check_forms(
    variant: str, passes: Iterable[ChosenPass], artifact_format: str, needed: Form
) -> None:
    """Nothing turns ONNX back into torch, so what takes torch must come before what gives ONNX."""
    form: Form = "torch"
    giver = ""
    takers: list[tuple[str, Form]] = [(f"the pass {p.name!r}", p.module.FORM) for p in passes]
    for taker, wanted in [*takers, (f"the format {artifact_format!r}", needed)]:
        if wanted == "torch" and form == "onnx":
            raise BadInput(
                f"variant {variant!r}: {taker} takes a torch network, but {giver} before it gives "
                "ONNX: put what takes torch first"
            )
        form, giver = wanted, taker
