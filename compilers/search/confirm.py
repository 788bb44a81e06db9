"""Choose what is worth shelving: what trials showed must hold in a race against its rivals."""

from __future__ import annotations

from collections.abc import Iterable
from math import log

from compilers.search.explore import UNUSABLE, Search
from compilers.search.found import choose, matches
from compilers.search.front import Point
from compilers.search.halving import TOP

RIVAL = log(1.5)
"""A variant that seemed dearer than another by less may be the cheaper one in truth."""


def worth_shelving(search: Search, most: int) -> list[str]:
    """At most `most` of the recipes tried in full that none of the recipe's variants matches.

    Trials lie minutes apart, and the luckiest of many timings is too good: each candidate is timed
    again, in turns with the variants that might match it.
    """
    points = {name: search.point(name, own.accuracy, TOP) for name, own in search.best.items()}
    own = {name: point for name, point in points.items() if name in search.own}
    usable = {
        name: point
        for name, point in points.items()
        if name not in search.own and point[0] < UNUSABLE
    }
    seeming = choose(usable, list(own.values()), len(usable))
    confirmed = [name for name in seeming if _holds(search, name, usable[name], own.items())]
    return choose({name: usable[name] for name in confirmed}, [], most)


def _holds(search: Search, name: str, point: Point, own: Iterable[tuple[str, Point]]) -> bool:
    """Whether no variant matches it when both run under the same conditions."""
    rivals = [
        each
        for each, other in own
        if other[0] <= point[0]
        and all(x <= y + RIVAL for x, y in zip(other[1:], point[1:], strict=True))
    ]
    if not rivals:
        return True
    times = search.trials.race(
        {each: (search.steps[each], search.best[each]) for each in (name, *rivals)}
    )
    raced = {
        each: (
            1 - search.best[each].accuracy,
            log(lone_s),
            log(search.usd_per_device_s(search.best[each].target) * item_s),
        )
        for each, (lone_s, item_s) in times.items()
    }
    return not any(matches(raced[each], raced[name]) for each in rivals)
