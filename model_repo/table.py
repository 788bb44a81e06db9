"""Plain-text tables for a terminal: numbers to the right, words to the left."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal


def render(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as their widest cell, two spaces apart."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    rights = [bool(cells) and all(_is_number(row[i]) for row in cells) for i in range(len(columns))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, rights, strict=True)
        ).rstrip()
        for row in [list(columns), *cells]
    )


def plain(number: float) -> str:
    """Three digits that count, and no exponent: a column of dollars is compared at a glance."""
    return f"{Decimal(f'{number:.3g}'):f}"


def short(number: float, places: int) -> str:
    """So many decimal places, or three digits that count where those would all be 0."""
    return f"{number:.{places}f}" if number >= 10.0 ** (1 - places) else plain(number)


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit() or cell[:1] in "-+." or not cell
