"""Draw one model: accuracy against cost, latency as the size of the mark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from model_repo.labels import Box, place
from model_repo.report import Row, by_target, finding

DPI = 100
TARGETS = {"cpu": "#1f77b4", "gpu": "#2a9d5c", "tpu": "#d9822b", "fpga": "#8e5bb5"}
OTHER, INK, SOFT, FAINT = "#666666", "#222222", "#666666", "#aaaaaa"
DASHED = (0, (1.6, 1.0))
"""The outline of what is noisy: short enough that the smallest mark shows it."""
SMALLEST, LARGEST = 50.0, 420.0
"""Areas of the marks of the fastest and the slowest variant, in points squared."""
MOST_NAMES = 18
"""Of more marks than this, names would cover each other."""


def panel(axes: Any, table: Sequence[Row], title_size: int) -> None:
    """Draw the marks, the front, and the axes of one model; names come last, see `label`."""
    for row, area in zip(table, _areas(table), strict=True):
        _mark(axes, row, area)
    steps = front(table)
    axes.plot(*zip(*steps, strict=True), color=FAINT, linewidth=1.5, linestyle="--", zorder=1)
    axes.set_title(
        finding(table), fontsize=title_size, fontweight="bold", color=INK, loc="left", pad=12
    )
    axes.set_xlabel("cost at the best batch size, usd per million answers (log scale)", color=INK)
    axes.set_ylabel(f"{table[0].metric}, with its 95 % interval", color=INK)
    axes.set_xscale("log")
    axes.margins(x=0.16, y=0.12)
    axes.set_xlim(*_span(table))
    bottom, top = axes.get_ylim()
    axes.set_ylim(top=min(top, 1 + 0.05 * (1 - bottom)))  # nothing is more accurate than 1
    axes.xaxis.set_major_locator(_ticks(table))
    axes.xaxis.set_major_formatter(lambda cost, _: f"{cost:.12f}".rstrip("0").rstrip("."))
    axes.xaxis.set_minor_formatter("")
    axes.grid(True, which="major", color="#e8e8e8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=SOFT, which="both")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_color(FAINT)


def _span(table: Sequence[Row]) -> tuple[float, float]:
    """The costs that the axis shows: room on both sides of the marks, not of every range."""
    costs = [row.usd_per_million for row in table if row.usd_per_million] or [1.0]
    room = max((max(costs) / min(costs)) ** 0.16, 1.2)
    return min(costs) / room, max(costs) * room


def named(table: Sequence[Row]) -> list[Row]:
    """The rows whose marks bear a name: of many only the reference, the front, and what is the
    cheapest for each target; the table of the report has them all."""
    if len(table) <= MOST_NAMES:
        return list(table)
    best = {row.variant for row in by_target(table)}
    return [r for r in table if r.pareto or r.kind == "reference" or r.variant in best]


def _ticks(table: Sequence[Row]) -> Any:
    """Powers of ten; with 2 and 5 between where the costs span few of them, round ones in one."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    costs = [row.usd_per_million for row in table]
    if min(costs) < max(costs) < 10 * min(costs):
        return MaxNLocator(8, steps=[1, 2, 2.5, 5, 10])
    return LogLocator(subs=(1.0, 2.0, 5.0) if max(costs) < 1000 * min(costs) else (1.0,))


def _areas(table: Sequence[Row]) -> list[float]:
    """Mark areas that grow with p99, the slowest the largest."""
    slowest = max(row.p99_ms for row in table) or 1.0
    return [max(SMALLEST, LARGEST * row.p99_ms / slowest) for row in table]


def _mark(axes: Any, row: Row, area: float) -> None:
    colour = TARGETS.get(row.target, OTHER)
    spread = [[row.accuracy - row.accuracy_low], [row.accuracy_high - row.accuracy]]
    axes.errorbar(
        row.usd_per_million,
        row.accuracy,
        yerr=spread,
        fmt="none",
        ecolor=colour,
        elinewidth=1.4,
        capsize=4,
        alpha=0.55,
        zorder=2,
    )
    if row.usd_per_million_low is not None:
        ends = [row.usd_per_million_low, row.usd_per_million]
        axes.plot(ends, [row.accuracy] * 2, color=colour, linewidth=1.4, alpha=0.35, zorder=2)
    axes.scatter(
        row.usd_per_million,
        row.accuracy,
        s=area,
        zorder=3,
        marker="D" if row.kind == "reference" else "o" if row.source == "measured" else "s",
        **style(colour, is_best=row.pareto, is_settled=row.is_settled),
    )


def style(colour: str, *, is_best: bool, is_settled: bool) -> dict[str, Any]:
    """How a mark is drawn: hollow where another is better in all, pale and dashed where noisy."""
    from matplotlib.colors import to_rgba

    return {
        "facecolor": to_rgba(colour, 0.9 if is_settled else 0.3) if is_best else "white",
        "edgecolor": to_rgba(colour, 0.9),
        "linewidth": 1.6,
        "linestyle": "-" if is_settled else DASHED,
    }


def front(table: Sequence[Row]) -> list[tuple[float, float]]:
    """The accuracy that each budget buys: a step up at every variant of the front."""
    corners: list[tuple[float, float]] = []
    best = [(row.usd_per_million, row.accuracy) for row in table if row.pareto]
    for cost, accuracy in sorted(best, key=lambda point: (point[0], -point[1])):
        if not corners or accuracy > corners[-1][1]:
            corners += [(cost, corners[-1][1])] if corners else []
            corners.append((cost, accuracy))
    return corners or [(table[0].usd_per_million, table[0].accuracy)]


def label(axes: Any, table: Sequence[Row]) -> None:
    """Name the marks where a name covers nothing; measured in pixels, so drawn last."""
    axes.figure.draw_without_rendering()
    points = axes.transData.transform([(row.usd_per_million, row.accuracy) for row in table])
    radii = [(area / math.pi) ** 0.5 * 1.3 * DPI / 72 for area in _areas(table)]
    taken = _obstacles(axes, table)
    taken += [Box(x - r, y - r, x + r, y + r) for (x, y), r in zip(points, radii, strict=True)]
    wanted = {row.variant for row in named(table)}
    for row, (x, y), radius in zip(table, points, radii, strict=True):
        if row.variant not in wanted:
            continue
        text = axes.annotate(
            f"{row.variant}\np99 {_time(row.p99_ms)}",
            (row.usd_per_million, row.accuracy),
            textcoords="offset points",
            xytext=(0, 0),
            fontsize=9.5,
            color=INK,
            linespacing=1.25,
            annotation_clip=False,
        )
        # Names take part in no layout: they lie where there is room already.
        text.set_in_layout(False)
        extent = text.get_window_extent()
        spot = place(float(x), float(y), radius, (extent.width, extent.height), taken)
        taken.append(spot)
        text.set_position(((spot.left - x) * 72 / DPI, (spot.bottom - y) * 72 / DPI))
        _lead(axes, spot, (float(x), float(y)), radius)


def _time(ms: float) -> str:
    """In the unit that needs no exponent: circuits answer in nanoseconds."""
    return f"{ms:.3g} ms" if ms >= 1e-3 else f"{ms * 1e6:.3g} ns"


def _lead(axes: Any, spot: Box, mark: tuple[float, float], radius: float) -> None:
    """A thin line from a name to its mark, where they lie apart."""
    near = (min(max(mark[0], spot.left), spot.right), min(max(mark[1], spot.bottom), spot.top))
    if math.dist(near, mark) > radius + 6:
        axes.annotate(
            "",
            mark,
            near,
            xycoords="figure pixels",
            textcoords="figure pixels",
            arrowprops={
                "arrowstyle": "-",
                "color": FAINT,
                "linewidth": 0.9,
                "shrinkA": 2,
                "shrinkB": radius * 72 / DPI,
            },
        )


def _obstacles(axes: Any, table: Sequence[Row]) -> list[Box]:
    """The thin boxes of intervals and of the front, and the walls around the panel."""
    lines = [
        ((r.usd_per_million, r.accuracy_low), (r.usd_per_million, r.accuracy_high)) for r in table
    ]
    lines += list(pairwise(front(table)))
    boxes = []
    for line in lines:
        (x0, y0), (x1, y1) = sorted(map(tuple, axes.transData.transform(line)))
        boxes.append(Box(x0 - 2, min(y0, y1) - 2, x1 + 2, max(y0, y1) + 2))
    frame, far = axes.get_window_extent(), 1e4
    return [
        *boxes,
        Box(-far, -far, frame.x0 + 2, far),
        Box(frame.x1, -far, far, far),
        Box(-far, -far, far, frame.y0 + 2),
        Box(-far, frame.y1, far, far),
    ]
