"""Draw how much each layer of one model minds int8 and pruning, as bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from model_repo.cost_panel import FAINT, INK, SOFT
from model_repo.sensitivity import LayerLoss, Sensitivity

MOST = 48
"""Layers drawn: of deeper models the most sensitive ones, still in their order."""
BAR, FRAME = 15, 78
"""Pixels of one layer, and of title, axis and margins."""
PLAIN, WORST = "#9db8cf", "#c8553d"


def height(found: Sensitivity) -> float:
    """Pixels that the bars of a model take."""
    return FRAME + BAR * max(6, *(min(MOST, len(part)) for part in _parts(found).values()))


def draw(place: Any, name: str, found: Sensitivity) -> None:
    """Fill a place in a picture's grid; name: of the model, where there are several."""
    parts = {change: losses for change, losses in _parts(found).items() if losses}
    panels = place.subgridspec(1, len(parts)).subplots(squeeze=False).ravel()
    for axes, (change, losses) in zip(panels, parts.items(), strict=True):
        _bars(axes, _most_sensitive(losses))
        among = f"the {MOST} worst of {len(losses)} layers" if len(losses) > MOST else "each layer"
        axes.set_title(
            f"{name + ': ' if name else ''}What {change} {among} costs, alone",
            fontsize=11,
            fontweight="bold",
            color=INK,
            loc="left",
        )
        axes.set_xlabel(found.unit, color=SOFT, fontsize=9)


def _parts(found: Sensitivity) -> dict[str, Sequence[LayerLoss]]:
    return {"int8 in": found.quantization, "pruning half of": found.pruning}


def _most_sensitive(losses: Sequence[LayerLoss]) -> list[LayerLoss]:
    kept = sorted(range(len(losses)), key=lambda i: -losses[i].loss)[:MOST]
    return [losses[i] for i in sorted(kept)]


def _bars(axes: Any, losses: Sequence[LayerLoss]) -> None:
    """The first layer on top, the most sensitive one in another colour, a figure at each bar."""
    values = [each.loss for each in losses]
    worst = max(values)
    colours = [WORST if value == worst else PLAIN for value in values]
    bars = axes.barh(range(len(losses)), values, color=colours, height=0.72)
    axes.bar_label(bars, [f"{value:.2g}" for value in values], padding=3, fontsize=8, color=SOFT)
    axes.set_yticks(range(len(losses)), [each.layer for each in losses], fontsize=8.5, color=INK)
    axes.set_ylim(len(losses) - 0.4, -0.6)
    axes.set_xlim(0, 1.12 * worst or 1.0)
    axes.ticklabel_format(axis="x", style="sci", scilimits=(-3, 4), useMathText=True)
    axes.xaxis.get_offset_text().set(fontsize=8, color=SOFT)
    axes.tick_params(axis="x", colors=SOFT, labelsize=8)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
