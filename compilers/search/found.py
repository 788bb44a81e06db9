"""What a search found: which recipes are worth shelving, and how to say them in a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log
from typing import Any

import msgspec

from compilers.chain import PASSES
from compilers.search.front import Point, best_first, thin
from compilers.search.space import Steps
from model_repo import plugins
from model_repo.records import PassStep

PREFIX = "found"
DIGITS = 4
CLOSE = log(1.05)
"""Costs and latencies within 5 % are taken for equal: a quick timing tells no more."""


def is_found(variant: str) -> bool:
    """Whether a search named what is shelved so."""
    return f"-{PREFIX}-" in variant


def choose(points: Mapping[str, Point], own: Sequence[Point], most: int) -> list[str]:
    """At most `most` of the points, none of them as good as matched by `own` or by each other."""
    kept: list[str] = []
    names = list(points)
    for place in best_first([points[name] for name in names]):
        rivals = [*own, *(points[name] for name in kept)]
        if not any(matches(rival, points[names[place]]) for rival in rivals):
            kept.append(names[place])
    return [kept[place] for place in thin([points[name] for name in kept], most)]


def matches(a: Point, b: Point) -> bool:
    """Whether `a` is as good as `b`, as far as can be told."""
    return a[0] <= b[0] and all(x <= y + CLOSE for x, y in zip(a[1:], b[1:], strict=True))


def title(steps: Steps, digest: str) -> str:
    """A name for a variant: what it is made by, and a few digits that tell it from its like."""
    return "-".join([PREFIX, *(_word(step) for step in steps), digest[:DIGITS]])


def _word(step: PassStep) -> str:
    """What must be said of a pass, or else its name and the words chosen: convnet, prune50."""
    options = plugins.load(PASSES, step.name).Options
    given = _changed(step)
    required = [f.name for f in msgspec.structs.fields(options) if f.required]
    if any(isinstance(step.options[name], str) for name in required):
        return "-".join(step.options[name] for name in required)
    share = step.options.get("ratio")
    words = [value for value in given.values() if isinstance(value, str) and value.isalnum()]
    return "-".join([f"{step.name}{share:.0%}".rstrip("%") if share else step.name, *words])


def spell(steps: Steps) -> str:
    """The steps on one line, with the options that differ from the defaults."""
    return ", ".join(_flow(step) for step in steps) or "the reference"


def lines(name: str, steps: Steps) -> str:
    """What stands under `variants` in a recipe to make it again."""
    return "\n".join([f"  {name}:", *(f"    - {_flow(step)}" for step in steps)])


def _flow(step: PassStep) -> str:
    """PASS or PASS: {option: value}, in YAML on one line."""
    import yaml

    given = _changed(step)
    if not given:
        return step.name
    return yaml.safe_dump(
        {step.name: given}, default_flow_style=None, sort_keys=False, width=1000
    ).strip()


def _changed(step: PassStep) -> dict[str, Any]:
    """The options that are not at their defaults."""
    options = plugins.load(PASSES, step.name).Options
    usual = {
        f.name: f.default_factory() if f.default is msgspec.NODEFAULT else f.default
        for f in msgspec.structs.fields(options)
        if not f.required
    }
    encode = msgspec.json.encode  # in which a list and a tuple are the same
    return {
        name: value
        for name, value in step.options.items()
        if name not in usual or encode(usual[name]) != encode(value)
    }
