"""Cascades on the shelf: reads them, and says whether their stages are those they were made for."""

from __future__ import annotations

import math
from collections.abc import Iterable

from model_repo import durable, runtime
from model_repo.errors import Corrupt, FareboxError
from model_repo.records import Cascade, Model, Variant
from model_repo.store import Store

FORMAT = "cascade"


def is_cascade(variant: Variant) -> bool:
    """Whether it names two other variants instead of holding bytes that run."""
    return variant.kind == "cascade"


def read(store: Store, variant: Variant) -> Cascade:
    """What a cascade's artifact holds; raises Corrupt if it cannot be read or is not what was
    shelved."""
    if variant.artifact.format != FORMAT:
        raise Corrupt(
            f"{variant.key} is of kind cascade, but its artifact's format is "
            f"{variant.artifact.format!r} and not {FORMAT!r}; remove it and compile it again"
        )
    found = durable.read(store.artifact(variant), Cascade)
    if wrong := _wrong(found):
        raise Corrupt(f"{variant.key}: {wrong}; compile it again, or remove it")
    return found


def _wrong(found: Cascade) -> str:
    """What no cascade may hold, and what it may; "" if all is well."""
    if not 0.0 <= found.escalation <= 1.0:
        return f"its escalation is {found.escalation:g}, a share from 0 to 1 was expected"
    if not 0.0 <= found.threshold < math.inf:  # scores that are not finite count as margin -1
        return f"its threshold is {found.threshold:g}, a finite number from 0 was expected"
    if found.first == found.second:
        return f"its stages are both {found.first!r}, two variants were expected"
    return ""


def names(store: Store, variant: Variant) -> tuple[str, ...]:
    """The names of a cascade's two stages; none of what is no cascade, or cannot be read."""
    if not is_cascade(variant):
        return ()
    try:
        found = read(store, variant)
    except Corrupt:
        return ()
    return found.first, found.second


def stages(cascade: Cascade, variant: Variant, others: Iterable[Variant]) -> tuple[Variant, ...]:
    """The first and the second stage, out of `others` of the same model version.

    Raises Corrupt with the reason if one is missing, is a cascade, or is not the artifact that the
    threshold was calibrated with.
    """
    known = {each.key.variant: each for each in others}
    return (
        _stage(variant, cascade.first, cascade.first_sha256, known),
        _stage(variant, cascade.second, cascade.second_sha256, known),
    )


def _stage(variant: Variant, name: str, sha256: str, known: dict[str, Variant]) -> Variant:
    stage = known.get(name)
    if stage is None or is_cascade(stage):
        what = "is itself a cascade" if stage else "is not there"
        raise Corrupt(f"{variant.key}: its stage {name!r} {what}; compile it again, or remove it")
    if stage.artifact.sha256 != sha256:
        raise Corrupt(
            f"{variant.key}: its stage {name!r} is another artifact than the one it was calibrated "
            "with, so that its accuracy does not hold; compile it again, or remove it"
        )
    return stage


def check_output(cascade: Cascade, variant: Variant, model: Model) -> None:
    """Raise Corrupt unless the model gives scores for each row, by which a cascade can judge."""
    spec = next((spec for spec in model.outputs if spec.name == cascade.output), None)
    if not model.batches or spec is None or len(spec.shape) != 2 or spec.shape[1] in (0, 1):
        raise Corrupt(
            f"{variant.key}: it judges by scores [n, k] of the output {cascade.output!r}, row by "
            f"row, and {model.name}/{model.version} gives no such output; remove it"
        )


def is_sound(store: Store, variant: Variant, others: Iterable[Variant]) -> bool:
    """Whether it is no cascade, or one that can be read and has the stages it was made for."""
    try:
        return not is_cascade(variant) or bool(stages(read(store, variant), variant, others))
    except FareboxError:
        return False


def is_servable(store: Store, variant: Variant, others: Iterable[Variant]) -> bool:
    """Whether this machine can serve a variant: its runtime is there, or both its stages' are.

    others: the variants of the same model version.
    """
    if not is_cascade(variant):
        return runtime.is_servable(variant)
    try:
        return all(map(runtime.is_servable, stages(read(store, variant), variant, others)))
    except FareboxError:
        return False
