"""Which of several points, each a few figures of which less is better, are worth more time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model_repo.tensors import Array

Point = tuple[float, ...]


def dominates(a: Point, b: Point) -> bool:
    """Whether `a` is no worse than `b` in anything, and better in something."""
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def ranks(points: Sequence[Point]) -> list[int]:
    """0 for points that none dominates, 1 for those that only points of rank 0 do, and so on.

    Deb et al. 2002 (NSGA-II, IEEE Transactions on Evolutionary Computation 6), section III-A.
    """
    if not points:
        return []
    given = np.array(points)
    no_worse: Array = np.all(given[:, None] <= given[None], axis=2)
    beats: Array = np.logical_and(no_worse, ~no_worse.T)
    found = np.full(len(points), -1)
    for rank in range(len(points)):
        left = found < 0
        found[left & ~beats[left].any(axis=0)] = rank
        if (found >= 0).all():
            break
    return [int(rank) for rank in found]


def crowding(points: Sequence[Point]) -> list[float]:
    """How far the neighbours of each point lie, as a share of the whole; infinite at the ends.

    NSGA-II, section III-B: summed over the figures, between the next smaller and the next larger.
    """
    found = [0.0] * len(points)
    for figure in range(len(points[0]) if points else 0):
        order = sorted(range(len(points)), key=lambda i: (points[i][figure], points[i]))
        low, high = points[order[0]][figure], points[order[-1]][figure]
        found[order[0]] = found[order[-1]] = float("inf")
        for place in range(1, len(order) - 1):
            gap = points[order[place + 1]][figure] - points[order[place - 1]][figure]
            found[order[place]] += gap / (high - low) if high > low else 0.0
    return found


def best_first(points: Sequence[Point]) -> list[int]:
    """The places of the points, by rank, and within a rank the lone ones first."""
    ranked = ranks(points)
    order: list[int] = []
    for rank in range(max(ranked, default=-1) + 1):
        members = [i for i, own in enumerate(ranked) if own == rank]
        spread = crowding([points[i] for i in members])
        order += [i for _, i in sorted(zip((-s for s in spread), members, strict=True))]
    return order


def thin(points: Sequence[Point], most: int) -> list[int]:
    """The places of at most `most` points: the most crowded is left out, again and again."""
    kept = list(range(len(points)))
    while len(kept) > max(0, most):
        spread = crowding([points[i] for i in kept])
        # Among equals the later one goes: the order given is that of being found.
        kept.pop(min(range(len(kept)), key=lambda i: (spread[i], -i)))
    return kept
