"""Which recipes are the same, as wholes, in shape, in training, or in where they fail."""

from __future__ import annotations

from collections.abc import Set

from compilers.digests import digest
from compilers.search.space import Steps
from compilers.training.lessons import Lesson


def name_of(steps: Steps) -> str:
    """What a recipe is known by during a search."""
    return digest(steps)


def shape_of(steps: Steps) -> str:
    """What is alike for recipes that differ in nothing but how they train."""
    how = set(Lesson.__struct_fields__)
    kept = [(step.name, {k: v for k, v in step.options.items() if k not in how}) for step in steps]
    return digest(kept)


def training(steps: Steps) -> str:
    """What the part of a recipe that takes epochs is known by."""
    places = [place for place, step in enumerate(steps) if step.options.get("epochs")]
    return name_of(steps[: places[-1] + 1] if places else ())


def dead_end(steps: Steps, share: float, reason: str) -> str | None:
    """What the part of a recipe up to the pass that a failure names is known by, if it names one.

    share: of its training that was done. What fails untrained fails for all of that shape.
    """
    named = [place for place, step in enumerate(steps) if reason.startswith(f"{step.name}:")]
    if not named:
        return None
    way = steps[: named[-1] + 1]
    return name_of(way) if share else shape_of(way)


def leads(steps: Steps, ends: Set[str]) -> bool:
    """Whether a recipe begins as one did that failed: see `dead_end`."""
    ways = [steps[:end] for end in range(1, len(steps) + 1)]
    return any(name_of(way) in ends or shape_of(way) in ends for way in ways)
