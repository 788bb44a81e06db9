"""The report as text: a table for each model, one of its targets, and what the marks mean."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from model_repo import sensitivity
from model_repo.pareto import NOISE_RATIO, NOISE_S
from model_repo.prices import PriceBook
from model_repo.records import QUIET, SETTLED
from model_repo.report import Row, by_target, finding, points_below, times_cheaper
from model_repo.sensitivity import Sensitivity
from model_repo.table import plain, render, short

COLUMNS = [
    "95 %",
    "p50 ms",
    "p99 ms",
    "device us/item",
    "usd/million",
    "at batch 1",
    "times cheaper",
    "",
]
TARGETS = ["target", "variant", "usd/million", "times cheaper", "priced as", ""]
LEGEND = (
    "* no other variant is better in accuracy, p99 and cost at once, p99s that differ by less than "
    f"{NOISE_S * 1e6:g} us or {NOISE_RATIO - 1:.0%} taken for equal; "
    "usd/million is at the best batch size, then of lone requests"
)

NOISY = (
    f"noisy: others took more than {QUIET:.0%} of the host's CPU time, or the median device time "
    f"is not known to within {SETTLED:.0%}; run 'farebox measure' when it is quiet"
)

MIXED = (
    "estimated: the stages of a cascade were not all measured on one host, so that it is not "
    "routed to unless allow_estimated is set; run 'farebox measure' where it is to be served"
)

UNMEASURED = (
    "estimated: by the maker's own compiler or from published peaks; emulated: the circuit itself "
    "ran and its clock was counted. Neither was measured on the hardware it is for: every time is "
    "the upper end of what is likely, and the gateway routes to neither unless allow_estimated is "
    "set"
)

STANDING_IN = (
    "standing in: nobody rents out such hardware, so that its time is priced as that instance's"
)

CHANGED = (
    "stage changed: a stage of the cascade is gone or is another artifact than the one it was "
    "calibrated with, so that it is not served; 'farebox verify' says which: compile it again"
)


def told(
    table: Sequence[Row],
    book: PriceBook,
    day: date,
    absent: dict[str, str],
    layers: Sensitivity | None,
) -> str:
    """All that is known of one model version."""
    return _text(table, book, day) + _worst(layers) + _listed(absent)


def below(tables: Sequence[Sequence[Row]]) -> list[str]:
    """What the marks in these tables mean."""
    rows = [row for table in tables for row in table]
    cascades = [row for row in rows if row.kind == "cascade"]
    alone = [row for row in rows if row.kind != "cascade"]
    return [
        LEGEND,
        *([] if all(row.is_settled for row in rows) else [NOISY]),
        *([] if all(row.source == "measured" for row in alone) else [UNMEASURED]),
        *([] if all(row.is_own_price for row in alone) else [STANDING_IN]),
        *([] if all(row.source != "estimated" for row in cascades) else [MIXED]),
        *([] if all(row.is_sound for row in rows) else [CHANGED]),
    ]


def _text(table: Sequence[Row], book: PriceBook, day: date) -> str:
    return "\n".join(
        [
            f"{finding(table)} ({priced(table, book, day)})",
            render(["variant", table[0].metric, *COLUMNS], [_cells(row, table) for row in table]),
            *_targets(table),
        ]
    )


def _targets(table: Sequence[Row]) -> list[str]:
    """A second table, of targets, where there are several."""
    if len({row.target for row in table}) < 2:
        return []
    cells = [
        [
            row.target,
            row.variant,
            plain(row.usd_per_million),
            short(times_cheaper(row, table) or 1.0, 1),
            row.instance if row.is_own_price else f"{row.instance}, standing in",
            _below(row, table)
            + (row.host if row.source in row.host else f"{row.source}, {row.host}"),
        ]
        for row in by_target(table)
    ]
    told = ["by target, the cheapest within 1 point of the reference:", render(TARGETS, cells)]
    return told + [_circuit(row) for row in table if "fpga.mhz" in row.notes]


def _below(row: Row, table: Sequence[Row]) -> str:
    points = points_below(row, table)
    return f"the closest it has, {points:.1f} points below; " if points > 1 else ""


def _circuit(row: Row) -> str:
    """What place-and-route reached, of a circuit that was placed."""
    notes = row.notes
    shares = [
        f"{100 * float(share):.0f} % of its {name[5:-6].upper()} cells"
        for name, share in notes.items()
        if name.startswith("fpga.") and name.endswith("_share")
    ]
    xilinx = notes.get("fpga.xilinx_lut")
    return (
        f"{row.variant} on {notes['fpga.part']}: {float(notes['fpga.latency_ns']):.1f} ns a row at "
        f"{float(notes['fpga.mhz']):.1f} MHz, {', '.join(shares)}"
        + (f"; on UltraScale+ {float(xilinx):,.0f} look-up tables" if xilinx else "")
    )


def _cells(row: Row, table: Sequence[Row]) -> list[str]:
    times = times_cheaper(row, table)
    return [
        row.variant,
        f"{row.accuracy:.4f}",
        f"{row.accuracy_low:.4f} to {row.accuracy_high:.4f}",
        short(row.p50_ms, 3),
        short(row.p99_ms, 3),
        short(row.device_s_per_item * 1e6, 2),
        plain(row.usd_per_million),
        plain(row.usd_per_million_batch1),
        "" if times is None else short(times, 1),
        _marks(row),
    ]


def _marks(row: Row) -> str:
    marks = ["*"] if row.pareto else []
    if row.kind == "reference":
        marks.append("reference")
    if row.source != "measured":
        marks.append(row.source)
    if not row.is_settled:
        marks.append("noisy")
    if not row.servable:
        marks.append("not servable here" if row.is_sound else "stage changed")
    return " ".join(marks)


def priced(table: Sequence[Row], book: PriceBook, day: date) -> str:
    """The instance type that stands for each target, its price, and since when it holds."""
    order = {row.instance: row.target for row in table}
    prices = [book.price(name, day) for name in sorted(order, key=lambda name: (order[name], name))]
    return "; ".join(
        f"{price.instance} at {price.usd_per_hour:g} usd/h for {price.devices} {price.device} "
        f"since {price.since}"
        for price in prices
    )


def _listed(absent: dict[str, str]) -> str:
    """A line for each reason."""
    alike: dict[str, list[str]] = {}
    for name, reason in absent.items():
        alike.setdefault(reason, []).append(name)
    lines = [f"  {', '.join(names)}: {reason}" for reason, names in alike.items()]
    return "".join(f"\n{line}" for line in ["not on the shelf:", *lines]) if lines else ""


def _worst(layers: Sensitivity | None) -> str:
    named = sensitivity.line(layers) if layers else ""
    return f"\n{named}" if named else ""
