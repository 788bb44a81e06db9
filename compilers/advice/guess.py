"""Foretell variants that are not on the shelf from what their relatives there were measured at."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from compilers.advice import naming as names
from compilers.advice.ratio import call_s, decades, foretell, item_s, spread, times
from compilers.cascades.cascade import expected_profile
from compilers.cascades.conformal import fewest_rows
from compilers.cascades.pairing import cascade_name, may_pay
from compilers.profiling.scoring import Score
from compilers.recipe import CascadeSpec
from model_repo.records import PassStep, Profile, Variant

OFF, NEIGHBOURS = 1.1, 2
"""How far a ratio may be off, either way, beside what the two nearest pairs differ by: by 1.1, and
by 1.1 again for each factor of ten in cost between the variant and where the ratio was seen. How
surely the three were measured comes on top."""
ESCALATION = (1.0, 3.0, 6.0)
"""Rows that go on for each that the first stage gets wrong: at best, expected, at worst. On digits
it was 1 to 5, by the pair and the risk."""


@dataclass(frozen=True)
class Guess:
    """A variant worth a thought: what it is expected to be, and what it costs at best, at worst.

    why: what was seen that lets one expect it. recipe: what to add to the recipe, key by key.
    """

    name: str
    target: str
    expected: Profile
    at_best: Profile
    at_worst: Profile
    why: str
    recipe: dict[str, Any]


class Change(NamedTuple):
    """What turns one variant of a target into another: passes added, or another format."""

    target: str
    before: str
    after: str
    added: tuple[str, ...]


Seen = list[tuple[Variant, Variant]]


def guesses(
    variants: Sequence[Variant],
    known: Collection[str],
    is_prunable: Callable[[Variant], bool] = lambda _: True,
) -> Iterator[Guess]:
    """What doing to one variant what was done to another would give, and cascades of pairs.

    known: names to leave out besides those on the shelf, as of variants that were tried in vain.
    is_prunable: whether the network of a variant has something to prune.
    Of the pairs (before, after) in which a change was seen, that one counts whose `before` costs
    most nearly what the variant does; the next says how far it may be off.
    """
    singles = [variant for variant in variants if variant.kind != "cascade"]
    taken = {variant.key.variant for variant in variants} | set(known)
    made = {_identity(v, v.artifact.format, v.steps) for v in singles}
    for change, seen in _changes(singles).items():
        fixed_s = call_s(v.profile for v in singles if v.target == change.target)
        for variant in singles:
            if (variant.target, variant.artifact.format) != (change.target, change.before):
                continue
            near = sorted(seen, key=lambda pair: _distance(variant, pair[0]))
            added = near[0][1].steps[len(near[0][0].steps) :]
            identity = _identity(variant, change.after, (*variant.steps, *added))
            if identity in made or not names.are_sound(variant.steps, added):
                continue
            if not any(step.name == "prune" for step in added) or is_prunable(variant):
                guess = _changed(variant, near, fixed_s)
                if guess.name not in taken:
                    yield guess
    if len(singles) == len(variants) and "cascades" not in taken:
        yield from _cascades(singles)


def _identity(variant: Variant, artifact_format: str, steps: Sequence[PassStep]) -> object:
    return variant.target, artifact_format, _texts(steps)


def _texts(steps: Sequence[PassStep]) -> tuple[str, ...]:
    return tuple(f"{step.name} {sorted(step.options.items())!r}" for step in steps)


def _changes(singles: Sequence[Variant]) -> dict[Change, Seen]:
    """Every change between two variants, with the pairs (before, after) it was seen in."""
    found: dict[Change, Seen] = {}
    for before in singles:
        for after in singles:
            kept, steps = _texts(before.steps), _texts(after.steps)
            if before.target != after.target or steps[: len(kept)] != kept:
                continue
            added, one, two = steps[len(kept) :], before.artifact.format, after.artifact.format
            if bool(added) != (one != two):  # passes added, or another format, not both
                change = Change(before.target, one, two, added)
                found.setdefault(change, []).append((before, after))
    return found


def _distance(one: Variant, other: Variant) -> tuple[float, str]:
    return decades(one.profile, other.profile), other.key.variant


def _changed(variant: Variant, near: Seen, fixed_s: float) -> Guess:
    """`variant` with done to it what made `after` of `before` in the nearest pair."""
    before, after = near[0]
    ratios = [item_s(b.profile) / item_s(a.profile) for a, b in near[:NEIGHBOURS]]
    ratio, slack = ratios[0], OFF ** (1 + decades(variant.profile, before.profile))
    doubt = spread(variant.profile, before.profile, after.profile)
    best, worst = min(ratios) / ratio / slack, max(ratios) / ratio * slack
    expected, at_best, at_worst = (
        times(foretell(variant.profile, before.profile, after.profile, fixed_s, off), noise)
        for off, noise in ((1.0, 1.0), (best, 1 / doubt), (worst, doubt))
    )
    steps = (*variant.steps, *after.steps[len(before.steps) :])
    short = names.with_added(variant, before, after)
    is_format = before.artifact.format != after.artifact.format
    points = 100 * (before.profile.accuracy - after.profile.accuracy)
    return Guess(
        names.shelved_name(short, variant.target, after.artifact.format),
        variant.target,
        expected,
        at_best,
        at_worst,
        f"{after.key.variant} costs {ratio:.2g} of {before.key.variant} and loses {points:.2f} "
        "points",
        {"formats": [before.artifact.format, after.artifact.format]}
        if is_format
        else {"variants": {short: names.written(steps)}},
    )


def _cascades(singles: Sequence[Variant]) -> Iterator[Guess]:
    """Pairs as cascades of the usual risk: as accurate as the second stage but for the risk."""
    spec = CascadeSpec()
    for first in singles:
        for second in (each for each in singles if may_pay(first, each)):
            told, wrong = second.profile, 1 - first.profile.accuracy
            score = Score(
                told.accuracy - spec.risk,
                told.accuracy_low - spec.risk,
                told.accuracy_high,
                told.accuracy_samples,
            )
            best, expected, worst = (
                expected_profile(first.profile, told, min(1.0, many * wrong), score)
                for many in ESCALATION
            )
            off = spread(first.profile, told)
            yield Guess(
                cascade_name(first, second),
                first.target,
                expected,
                times(best, 1 / off),
                times(worst, off),
                f"{first.key.variant} is wrong {wrong:.1%} of the time, and the rows it is unsure "
                f"of are taken to be {ESCALATION[1]:g} times as many",
                {
                    "cascades": {
                        "risk": spec.risk,
                        "pairs": [[first.key.variant, second.key.variant]],
                    },
                    "splits": {"conformal": fewest_rows(spec.risk)},
                },
            )
