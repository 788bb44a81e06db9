"""Show what each variant costs, how fast and how accurate it is, as a table or a picture."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from functools import partial
from pathlib import Path

import msgspec
from msgspec import structs

from model_repo import cascades, options, sensitivity
from model_repo.errors import Corrupt, NotFound
from model_repo.findings import read_skips
from model_repo.pareto import NOISE_RATIO, NOISE_S
from model_repo.prices import PriceBook
from model_repo.records import QUIET, SETTLED
from model_repo.report import Row, finding, rows, times_cheaper
from model_repo.sensitivity import Sensitivity
from model_repo.store import Store
from model_repo.survey import survey
from model_repo.table import render

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

CHANGED = (
    "stage changed: a stage of the cascade is gone or is another artifact than the one it was "
    "calibrated with, so that it is not served; 'farebox verify' says which: compile it again"
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="all versions of one model")
    options.add_repository(parser)
    options.add_prices(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw cost against accuracy")


def run(args: argparse.Namespace) -> int:
    book, day = options.read_prices(args.prices), options.today()
    problems: list[str] = []
    store = Store(args.repository)
    tables = _tables(store, args.model, book, day, problems)
    absent = [_absent(store, table[0], problems) for table in tables]
    layers = [_layers(store, table[0], problems) for table in tables]
    options.warn(problems)
    parts = list(zip(tables, absent, layers, strict=True))
    if args.json:
        flat = [_keyed(row, no, own) for table, no, own in parts for row in table]
        print(msgspec.json.format(msgspec.json.encode(flat), indent=2).decode())
    elif tables:
        told = (_text(table, book, day) + _worst(own) + _listed(no) for table, no, own in parts)
        print("\n\n".join(told))
        print(LEGEND)
        if not all(row.is_settled for table in tables for row in table):
            print(NOISY)
        if any(row.kind == "cascade" and row.source == "estimated" for t in tables for row in t):
            print(MIXED)
        if not all(row.is_sound for table in tables for row in table):
            print(CHANGED)
    else:
        print(options.empty(args.repository, problems))
    if args.png and not tables:
        print(f"nothing was drawn: {args.png} is not written", file=sys.stderr)
    elif args.png:
        from model_repo.picture import draw

        prices = _prices([row for table in tables for row in table], book, day)
        draw(tables, prices, args.png, layers)
        print(f"drawn: {args.png}", file=sys.stderr)
    return 0


def _keyed(row: Row, absent: dict[str, str], layers: Sensitivity | None) -> dict[str, object]:
    """The row, with what is known of its model version: the same in each row of it."""
    return structs.asdict(row) | {"not_on_the_shelf": absent, "sensitivity": layers}


def _tables(
    store: Store, model: str | None, book: PriceBook, day: date, problems: list[str]
) -> list[list[Row]]:
    """One table for each model version that has variants; raises NotFound for an unknown model."""
    names = sorted({name for name, _ in store.versions()})
    if model is not None and model not in names:
        there = f"it has {', '.join(names)}" if names else "it is empty"
        raise NotFound(f"there is no model {model!r} in {store.root}: {there}")
    tables = []
    for each, variants in survey(store, problems):
        if variants and model in (None, each.name):
            is_servable = partial(cascades.is_servable, store, others=variants)
            is_sound = {v.key.variant: cascades.is_sound(store, v, variants) for v in variants}
            table = rows(variants, book, day, is_servable, each.metric)
            tables.append([structs.replace(r, is_sound=is_sound[r.variant]) for r in table])
    return tables


def _absent(store: Store, row: Row, problems: list[str]) -> dict[str, str]:
    """Why other variants of the row's model version are not there, by name."""
    try:
        return {
            name: skip.reason for name, skip in read_skips(store, row.model, row.version).items()
        }
    except Corrupt as error:
        problems.append(str(error))
        return {}


def _listed(absent: dict[str, str]) -> str:
    """A line for each reason."""
    alike: dict[str, list[str]] = {}
    for name, reason in absent.items():
        alike.setdefault(reason, []).append(name)
    lines = [f"  {', '.join(names)}: {reason}" for reason, names in alike.items()]
    return "".join(f"\n{line}" for line in ["not on the shelf:", *lines]) if lines else ""


def _layers(store: Store, row: Row, problems: list[str]) -> Sensitivity | None:
    """What the layers of the row's model version mind, if that is known."""
    try:
        return sensitivity.read(store, row.model, row.version)
    except Corrupt as error:
        problems.append(str(error))
        return None


def _worst(layers: Sensitivity | None) -> str:
    named = sensitivity.line(layers) if layers else ""
    return f"\n{named}" if named else ""


def _text(table: Sequence[Row], book: PriceBook, day: date) -> str:
    return "\n".join(
        [
            f"{finding(table)} ({_prices(table, book, day)})",
            render(["variant", table[0].metric, *COLUMNS], [_cells(row, table) for row in table]),
        ]
    )


def _cells(row: Row, table: Sequence[Row]) -> list[str]:
    times = times_cheaper(row, table)
    return [
        row.variant,
        f"{row.accuracy:.4f}",
        f"{row.accuracy_low:.4f} to {row.accuracy_high:.4f}",
        f"{row.p50_ms:.3f}",
        f"{row.p99_ms:.3f}",
        f"{row.device_s_per_item * 1e6:.2f}",
        _plain(row.usd_per_million),
        _plain(row.usd_per_million_batch1),
        "" if times is None else f"{times:.1f}",
        _marks(row),
    ]


def _plain(usd: float) -> str:
    """Three digits that count, and no exponent: a column of dollars is compared at a glance."""
    return f"{Decimal(f'{usd:.3g}'):f}"


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


def _prices(table: Sequence[Row], book: PriceBook, day: date) -> str:
    """The instance type that stands for each target, its price, and since when it holds."""
    prices = [book.target_price(target, day) for target in sorted({row.target for row in table})]
    return "; ".join(
        f"{price.instance} at {price.usd_per_hour:g} usd/h for {price.devices} {price.device} "
        f"since {price.since}"
        for price in prices
    )
