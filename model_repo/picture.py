"""Put the report on one picture: a panel for each model, and below it what its layers mind."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from model_repo import cost_panel, layer_panel
from model_repo.cost_panel import DPI, FAINT, INK, OTHER, SOFT, TARGETS
from model_repo.errors import BadInput, MissingExtra
from model_repo.files import refused
from model_repo.report import Row
from model_repo.sensitivity import Sensitivity

WIDTH, HEIGHT = 1200, 800
ENTRIES, LINE = 6, 20
"""Entries in a line of the legend, and the pixels that each line at the foot takes."""


def draw(
    tables: Sequence[Sequence[Row]],
    prices: str,
    path: Path,
    layers: Sequence[Sensitivity | None] = (),
) -> None:
    """Write a picture to `path`, 1200 x 800 for one panel, in the format its suffix names.

    layers: for each table what is known of its layers, drawn below the panels.
    Without a suffix it is a PNG. Raises MissingExtra without matplotlib, BadInput if the file
    cannot be written, and FareboxError if the disk is full.
    """
    if path.is_dir():
        raise BadInput(f"the picture {path} cannot be written: it is a folder; name a file in it")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ModuleNotFoundError as error:
        raise MissingExtra("drawing the report", "matplotlib", "report") from error
    strips = _strips(tables, layers)
    words = prices.split("; ")
    handles = _legend(tables)
    bottom = LINE * (len(words) + -(-len(handles) // ENTRIES)) + LINE
    columns = 1 if len(tables) == 1 else 2
    lines = -(-len(tables) // columns)
    width, top = (WIDTH, HEIGHT) if columns == 1 else (WIDTH * 1.5, HEIGHT * 0.75 * lines)
    heights = [top - bottom, *(layer_panel.height(found) for _, found in strips)]
    height = sum(heights) + bottom
    foot = bottom / height
    layout = ConstrainedLayoutEngine(h_pad=0.12, w_pad=0.14, rect=(0, foot, 1, 1 - foot))
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)  # draws into memory: no display is needed
    _write_foot(figure, handles, words, width, height)
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    panels = grid[0].subgridspec(lines, columns).subplots(squeeze=False).ravel()
    for axes, table in zip(panels, tables, strict=False):
        cost_panel.panel(axes, table, 15 if columns == 1 else 12)
    for axes in panels[len(tables) :]:
        axes.set_visible(False)
    for place, (name, found) in enumerate(strips):
        layer_panel.draw(grid[place + 1], name if len(tables) > 1 else "", found)
    for axes, table in zip(panels, tables, strict=False):
        cost_panel.label(axes, table)
    _save(figure, path)


def _strips(
    tables: Sequence[Sequence[Row]], layers: Sequence[Sensitivity | None]
) -> list[tuple[str, Sensitivity]]:
    """The models whose layers are known, by name."""
    return [
        (f"{table[0].model}/{table[0].version}", found)
        for table, found in zip(tables, layers, strict=False)
        if found and (found.quantization or found.pruning)
    ]


def _write_foot(
    figure: Any, handles: Sequence[Any], prices: Sequence[str], width: float, height: float
) -> None:
    """A line for each price at the very foot, and the legend above them."""
    from matplotlib.legend_handler import HandlerTuple

    below = LINE * len(prices)
    for place, price in enumerate(prices, 1):
        at = (below - place * LINE + LINE / 2) / height
        figure.text(14 / width, at, price, fontsize=8.5, color=SOFT, va="bottom")
    legend = figure.legend(
        handles,
        [(each[0] if isinstance(each, tuple) else each).get_label() for each in handles],
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0.2)},
        loc="lower left",
        bbox_to_anchor=(0, below / height),
        ncols=ENTRIES,
        frameon=False,
        fontsize=9.5,
        labelcolor=INK,
        handletextpad=0.4,
        columnspacing=1.3,
    )
    legend.set_in_layout(False)  # it lies in the foot, which the layout leaves free


def _save(figure: Any, path: Path) -> None:
    drawn = BytesIO()
    try:
        figure.savefig(drawn, format=path.suffix.lstrip(".") or "png")
    except ValueError as error:  # a format that matplotlib does not know; it names those it does
        raise BadInput(f"the picture {path} cannot be written: {error}") from error
    try:
        path.write_bytes(drawn.getvalue())
    except OSError as error:
        raise refused(error, f"the picture {path} cannot be written") from error


def _legend(tables: Sequence[Sequence[Row]]) -> list[Any]:
    from matplotlib.lines import Line2D

    rows = [row for table in tables for row in table]
    colours = {name: TARGETS.get(name, OTHER) for name in sorted({row.target for row in rows})}
    noisy = cost_panel.style(SOFT, is_best=True, is_settled=False)
    return [
        *(_mark(name, colour, colour) for name, colour in colours.items()),
        _mark("reference", INK, "white", "D"),
        _mark("hollow: another is better in all", INK, "white"),
        *(
            []
            if all(row.source == "measured" for row in rows)
            else [_mark("square: not measured, line: its range", INK, "white", "s")]
        ),
        *([] if all(row.is_settled for row in rows) else [_circle("dashed: noisy", noisy)]),
        Line2D([], [], color=FAINT, linestyle="--", label="the best for the money"),
        # A legend shows the two as one entry, and takes the label of the first.
        (_mark("larger: higher p99", SOFT, SOFT, size=5), _mark("", SOFT, SOFT)),
    ]


def _mark(label: str, colour: str, face: str, shape: str = "o", size: float = 9) -> Any:
    from matplotlib.lines import Line2D

    return Line2D(
        [],
        [],
        linestyle="none",
        marker=shape,
        markersize=size,
        label=label,
        markerfacecolor=face,
        markeredgecolor=colour,
    )


def _circle(label: str, style: dict[str, Any]) -> Any:
    """A mark whose outline has a style of its own, which those of lines cannot have."""
    from matplotlib.collections import PathCollection
    from matplotlib.path import Path as Outline
    from matplotlib.transforms import IdentityTransform

    outline = Outline.circle(radius=0.5)
    # Without a transform of its own the legend would give it one more shift.
    return PathCollection(
        [outline], sizes=[81], label=label, transform=IdentityTransform(), **style
    )
