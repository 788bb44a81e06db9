"""Show what each variant costs, how fast and how accurate it is, as a table or a picture."""

from __future__ import annotations

import argparse
import sys
from datetime import date
from functools import partial
from pathlib import Path

import msgspec
from msgspec import structs

from model_repo import cascades, options, report_text, sensitivity
from model_repo.errors import Corrupt, NotFound
from model_repo.findings import read_skips
from model_repo.prices import PriceBook
from model_repo.report import Row, rows
from model_repo.sensitivity import Sensitivity
from model_repo.store import Store
from model_repo.survey import survey


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
        told = (report_text.told(table, book, day, no, own) for table, no, own in parts)
        print("\n\n".join(told))
        print("\n".join(report_text.below(tables)))
    else:
        print(options.empty(args.repository, problems))
    if args.png and not tables:
        print(f"nothing was drawn: {args.png} is not written", file=sys.stderr)
    elif args.png:
        from model_repo.picture import draw

        prices = report_text.priced([row for table in tables for row in table], book, day)
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


def _layers(store: Store, row: Row, problems: list[str]) -> Sensitivity | None:
    """What the layers of the row's model version mind, if that is known."""
    try:
        return sensitivity.read(store, row.model, row.version)
    except Corrupt as error:
        problems.append(str(error))
        return None
