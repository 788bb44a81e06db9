"""Check a recipe against the passes and targets there are, before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec

from compilers.contracts import Form, Pass, Target
from compilers.recipe import Recipe, parse_recipe
from compilers.source import sha256_of_source
from model_repo import plugins
from model_repo.errors import BadInput, NotFound
from model_repo.fields import convert
from model_repo.files import read_text
from model_repo.records import Kind, PassStep, VariantKey

PASSES, TARGETS = "compilers.passes", "compilers.targets"


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
    """A variant that is to be shelved as `key`."""

    key: VariantKey
    kind: Kind
    target: Target
    passes: tuple[ChosenPass, ...]


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


def _plan_variants(recipe: Recipe) -> list[PlannedVariant]:
    chosen = {
        name: tuple(_choose(step, name) for step in steps)
        for name, steps in recipe.variants.items()
    }
    targets = {name: cast(Target, plugins.load(TARGETS, name)) for name in recipe.targets}
    reference = f"cpu-{recipe.reference}"
    planned = []
    for name, passes in chosen.items():
        for target in targets.values():
            _check_forms(name, passes, target)
            shelved = f"{target.TARGET}-{name}"
            kind: Kind = "reference" if shelved == reference else "variant"
            key = VariantKey(recipe.model, recipe.version, shelved)
            planned.append(PlannedVariant(key, kind, target, passes))
    return sorted(planned, key=lambda variant: variant.kind != "reference")


def _choose(step: PassStep, variant: str) -> ChosenPass:
    try:
        module = cast(Pass, plugins.load(PASSES, step.name))
    except NotFound as error:
        raise BadInput(f"variant {variant!r}: {error}") from error
    options = convert(step.options, module.Options, f"variant {variant!r}: pass {step.name!r}")
    return ChosenPass(step.name, module, options)


def _check_forms(variant: str, passes: Iterable[ChosenPass], target: Target) -> None:
    """Nothing turns ONNX back into torch, so what takes torch must come before what gives ONNX."""
    form: Form = "torch"
    giver = ""
    takers: list[tuple[str, Form]] = [(f"the pass {p.name!r}", p.module.FORM) for p in passes]
    for taker, wanted in [*takers, (f"the target {target.TARGET!r}", target.FORM)]:
        if wanted == "torch" and form == "onnx":
            raise BadInput(
                f"variant {variant!r}: {taker} takes a torch network, but {giver} before it gives "
                "ONNX: put what takes torch first"
            )
        form, giver = wanted, taker
