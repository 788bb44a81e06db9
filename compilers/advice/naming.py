"""What a variant that is not on the shelf yet would be called, and what a recipe says of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

import msgspec

from compilers.contracts import Form, Pass, Target, leads_to
from compilers.search.found import DIGITS, PREFIX
from model_repo import plugins
from model_repo.errors import BadInput, NotFound
from model_repo.records import PassStep, Variant

PASSES, TARGETS = "compilers.passes", "compilers.targets"
FOUND = re.compile(rf"{PREFIX}-(.+)-[0-9a-f]{{{DIGITS}}}")
REPLACING = ("distill",)
"""Passes whose result is as large whatever they are given: no ratio carries over to another."""


def short_name(variant: Variant) -> str:
    """What its recipe calls a variant: shelved as TARGET-NAME, or TARGET-NAME-FORMAT."""
    name = variant.key.variant.removeprefix(f"{variant.target}-")
    suffix = _suffix(variant.target, variant.artifact.format)
    return name.removesuffix(f"-{suffix}") if suffix else name


def shelved_name(short: str, target: str, artifact_format: str) -> str:
    """What a recipe's variant is shelved as."""
    return "-".join(filter(None, (target, short, _suffix(target, artifact_format))))


def with_added(variant: Variant, before: Variant, after: Variant) -> str:
    """The short name of `variant` with done to it what made `after` of `before`."""
    if before.steps == after.steps:
        return short_name(variant)
    short, base, name = (_plain_name(short_name(each)) for each in (variant, before, after))
    added = name.removeprefix(f"{base}-")
    return f"{short}-{added}" if variant.steps else added


def _plain_name(short: str) -> str:
    """What a search found, without that it did, and without the digits of its own recipe."""
    found = FOUND.fullmatch(short)
    return found[1] if found else short


def _suffix(target: str, artifact_format: str) -> str:
    try:
        formats = cast(Target, plugins.load(TARGETS, target)).FORMATS
    except NotFound:  # shelved by hand, for a target of its own
        return ""
    return formats[artifact_format].suffix if artifact_format in formats else ""


def are_sound(before: Sequence[PassStep], added: Sequence[PassStep]) -> bool:
    """Whether the passes may follow in this order, each of them but once."""
    names = {step.name for step in before}
    if any(step.name in names or step.name in REPLACING for step in added):
        return False
    form: Form = "torch"
    steps = (*before, *added)
    for place, step in enumerate(steps):
        try:
            module = cast(Pass, plugins.load(PASSES, step.name))
            options = msgspec.convert(step.options, module.Options)
            getattr(module, "check_after", _accept)(options, steps[:place])
        except (NotFound, BadInput, msgspec.ValidationError):
            return False
        if not leads_to(form, module.TAKES):
            return False
        form = module.GIVES
    return True


def _accept(options: Any, before: tuple[PassStep, ...]) -> None:
    """Nothing to check."""


def written(steps: Sequence[PassStep]) -> list[Any]:
    """The steps as a recipe writes them: without the options that are as they would be anyway."""
    return [_written(step) for step in steps]


def _written(step: PassStep) -> Any:
    module = cast(Pass, plugins.load(PASSES, step.name))
    usual = {
        field.encode_name: _plain(field.default)
        if field.default_factory is msgspec.NODEFAULT
        else field.default_factory()
        for field in msgspec.structs.fields(module.Options)
        if not field.required
    }
    given = _plain(step.options)
    own = {key: value for key, value in given.items() if key not in usual or value != usual[key]}
    return {step.name: own} if own else step.name


def _plain(value: Any) -> Any:
    """As JSON, hence a manifest, has it: tuples as lists."""
    return msgspec.json.decode(msgspec.json.encode(value))
