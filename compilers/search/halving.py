"""Who is trained for longer: successive halving over points of several figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from compilers.search.front import Point, best_first

SHARES = (1 / 9, 1 / 3, 1.0)
"""Of the epochs asked for, on each rung."""
KEPT = 3
"""One in so many goes on to the next rung, and the first."""
TOP = len(SHARES) - 1


@dataclass
class Rungs:
    """What was measured of each recipe tried, by its name, on each rung.

    Successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943) without waiting for a rung to
    fill (ASHA, Li et al. 2020, arXiv:1810.05934), ranked by dominance and crowding since there are
    several figures (Schmucker et al. 2021, arXiv:2106.12639).
    """

    points: tuple[dict[str, Point], ...] = field(default_factory=lambda: tuple({} for _ in SHARES))
    promoted: set[tuple[str, int]] = field(default_factory=set)

    def promotable(self) -> tuple[str, int] | None:
        """Who should be tried next on which rung, the highest rung first; None for nobody."""
        for rung in range(TOP - 1, -1, -1):
            names = list(self.points[rung])
            best = best_first([self.points[rung][name] for name in names])
            # Rounded up: the first goes all the way, and shows what the others must beat.
            for place in best[: -(-len(names) // KEPT)]:
                if (names[place], rung + 1) not in self.promoted:
                    return names[place], rung + 1
        return None

    def settle(self, name: str, rung: int, point: Point | None) -> None:
        """Note what was measured, or None for a recipe that failed there."""
        self.promoted.add((name, rung))
        if point is not None:
            self.points[rung][name] = point

    def top(self) -> Sequence[str]:
        """Those trained in full, in the order in which they were."""
        return tuple(self.points[TOP])
