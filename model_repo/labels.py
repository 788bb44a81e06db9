"""Find room for labels beside the marks of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

GAP = 4.0


class Box(NamedTuple):
    """A rectangle in pixels."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: Box) -> float:
        """The area both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return width * height if width > 0 and height > 0 else 0.0


def place(
    x: float, y: float, radius: float, size: tuple[float, float], taken: Sequence[Box]
) -> Box:
    """The nearest box of `size` around a mark that covers nothing; else the one that covers least.

    Right of the mark is tried first, then left, above and below, then farther out.
    """
    width, height = size
    best, least = Box(x, y, x, y), float("inf")
    for step in range(8):
        reach = radius + GAP + step * height * 0.6
        near = radius * 0.7 + GAP
        lefts_bottoms = [
            (x + reach, y - height / 2),
            (x - reach - width, y - height / 2),
            (x + near, y + reach * 0.7),
            (x + near, y - reach * 0.7 - height),
            (x - near - width, y + reach * 0.7),
            (x - near - width, y - reach * 0.7 - height),
            (x - width / 2, y + reach),
            (x - width / 2, y - reach - height),
        ]
        for left, bottom in lefts_bottoms:
            box = Box(left, bottom, left + width, bottom + height)
            covered = sum(box.overlap(other) for other in taken)
            if covered < least:
                best, least = box, covered
            if not covered:
                return box
    return best
