"""Check a recipe against the passes and targets there are, before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from msgspec import structs

from compilers.chain import ADVICE, ChosenPass, choose, form_after
from compilers.contracts import Form, Format, Target, leads_to
from compilers.recipe import CPU, Aim, Recipe, Way, for_targets, parse_recipe
from compilers.source import sha256_of_source
from model_repo import plugins
from model_repo.errors import BadInput, NotFound
from model_repo.fields import convert
from model_repo.files import read_text
from model_repo.names import check_name
from model_repo.records import Kind, Model, PassStep, VariantKey

TARGETS = "compilers.targets"
FIRST = (CPU.name, "")
"""The target and the suffix of the format that the reference is in."""


@dataclass(frozen=True)
class PlannedVariant:
    """A variant that is to be shelved as `key`; `name` is the recipe's.

    Those of one name and target are the same model in several formats. options: the target's.
    """

    key: VariantKey
    kind: Kind
    name: str
    target: Target
    artifact_format: str
    passes: tuple[ChosenPass, ...]
    options: Any = None

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

    @property
    def on_cpu(self) -> list[PlannedVariant]:
        """Those that any machine can measure."""
        return [variant for variant in self.variants if FIRST[0] == variant.target.TARGET]


def read_plan(path: Path, targets: Sequence[str] = ()) -> Plan:
    """The plan of the recipe file at `path`, for other targets than its own if some are given.

    Raises BadInput for whatever is wrong in it.
    """
    recipe = parse_recipe(read_text(path, "the recipe"), str(path))
    try:
        recipe = for_targets(recipe, targets) if targets else recipe
        variants = tuple(_plan_variants(recipe))
    except (BadInput, NotFound) as error:
        raise BadInput(f"{path}: {error}") from error
    source_path = path.parent / recipe.source.module
    return Plan(recipe, source_path, sha256_of_source(source_path), variants)


def extend(plan: Plan, variants: Mapping[str, tuple[PassStep, ...]]) -> Plan:
    """The plan with more variants for the CPU in its recipe; raises BadInput for nonsense."""
    ways = {name: Way(steps, (CPU,)) for name, steps in variants.items()}
    recipe = structs.replace(plan.recipe, variants={**plan.recipe.variants, **ways})
    return replace(plan, recipe=recipe, variants=tuple(_plan_variants(recipe)))


def rows_sway(steps: Iterable[PassStep]) -> bool:
    """Whether rows answered together sway each other: one range serves a whole batch."""
    return any(step.name == "quantize" and step.options.get("mode") == "dynamic" for step in steps)


def _plan_variants(recipe: Recipe) -> list[PlannedVariant]:
    asked = [_target(aim.name) for aim in recipe.targets]
    _check_formats(recipe)
    planned: dict[VariantKey, PlannedVariant] = {}
    for name, way in recipe.variants.items():
        passes = choose(way.passes, name)
        _check_own(name, form_after(passes, name), way.targets or ())
        for aim in recipe.aims(name):
            target = _target(aim.name)
            options = _options(aim, name if way.targets else "")
            for artifact_format in _formats(recipe, name, target, passes, options):
                key = _key(recipe, name, target, artifact_format)
                if key in planned:
                    raise BadInput(
                        f"variants {planned[key].name!r} and {name!r} would both be shelved as "
                        f"{key.variant!r}: rename one of them"
                    )
                is_reference = _is_reference(recipe, name, target, artifact_format)
                kind: Kind = "reference" if is_reference else "variant"
                planned[key] = PlannedVariant(
                    key, kind, name, target, artifact_format, passes, options
                )
    _check_all_used(asked, planned.values())
    return sorted(planned.values(), key=lambda variant: variant.kind != "reference")


def _target(name: str) -> Target:
    return cast(Target, plugins.load(TARGETS, name))


def _options(aim: Aim, variant: str) -> Any:
    where, target = f"variant {variant!r}: target" if variant else "target", _target(aim.name)
    options = convert(aim.options, target.Options, f"{where} {aim.name!r}")
    try:
        # A target whose options need no library to be understood defines no check.
        getattr(target, "check", _accept)(options)
    except BadInput as error:
        raise BadInput(f"{where} {aim.name!r}: {error}") from error
    return options


def _accept(options: Any) -> None:
    """Nothing to check."""


def _key(recipe: Recipe, name: str, target: Target, artifact_format: str) -> VariantKey:
    suffix = target.FORMATS[artifact_format].suffix
    shelved = "-".join(part for part in (target.TARGET, name, suffix) if part)
    return VariantKey(recipe.model, recipe.version, check_name(shelved, "variant"))


def _is_reference(recipe: Recipe, name: str, target: Target, artifact_format: str) -> bool:
    return name == recipe.reference and (
        (target.TARGET, target.FORMATS[artifact_format].suffix) == FIRST
    )


def _formats(
    recipe: Recipe, name: str, target: Target, passes: Sequence[ChosenPass], options: Any
) -> Iterator[str]:
    """Those to make of the target's that the variant's form and the options lead to."""
    form = form_after(passes, name)
    named = set(recipe.formats) & target.FORMATS.keys() or target.FORMATS.keys()
    asked: Any = getattr(target, "formats", lambda _: tuple(target.FORMATS))
    wanted = named & set(asked(options))
    for each in _reached(form, target):
        if each in wanted or _is_reference(recipe, name, target, each):
            yield each


def _reached(form: Form, target: Target) -> list[str]:
    return [
        name
        for name, made in target.FORMATS.items()
        if any(leads_to(form, taken) for taken in made.forms)
    ]


def _check_own(name: str, form: Form, own: Iterable[Aim]) -> None:
    """Raise BadInput unless a variant's form leads to each target that it names itself.

    Those too that are not asked for now: what is written is checked.
    """
    for aim in own:
        target = _target(aim.name)
        _options(aim, name)
        if not _reached(form, target):
            raise BadInput(
                f"variant {name!r}: the target {target.TARGET!r} takes the form {_taken(target)}, "
                f"and its passes give {form}: {ADVICE[form]}"
            )


def _taken(target: Target) -> str:
    return " or ".join(sorted({form for made in target.FORMATS.values() for form in made.forms}))


def _check_all_used(asked: Iterable[Target], planned: Iterable[PlannedVariant]) -> None:
    used = {variant.target.TARGET for variant in planned}
    for target in asked:
        if target.TARGET not in used:
            raise BadInput(
                f"no variant of the recipe is for the target {target.TARGET!r}, which takes the "
                f"form {_taken(target)}: add one whose passes give that, or leave "
                f"{target.TARGET} out of the targets"
            )


def _check_formats(recipe: Recipe) -> None:
    known = {each for name in plugins.names(TARGETS) for each in _target(name).FORMATS}
    for name in recipe.formats:
        if name not in known:
            raise BadInput(
                f"formats names {name!r}: choose from {', '.join(sorted(known))}, those of the "
                "targets, or leave formats out for all of them"
            )
