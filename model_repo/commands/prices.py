"""Print the price book in force on a day."""

from __future__ import annotations

import argparse

import msgspec

from model_repo import options
from model_repo.errors import BadInput
from model_repo.table import render


def configure(parser: argparse.ArgumentParser) -> None:
    options.add_prices(parser)
    parser.add_argument("--at", metavar="DATE", help="the day, as 2026-01-31 (default: today, UTC)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    day = options.parse_day(args.at) if args.at else options.today()
    book = options.read_prices(args.prices)
    in_force = []
    for instance in sorted({price.instance for price in book.prices}):
        try:
            in_force.append(book.price(instance, day))
        except BadInput:  # not yet priced on that day: not part of the answer
            continue
    if not in_force:
        raise BadInput(f"no instance has a price as early as {day}: choose a later day")
    targets = {
        price.instance: ", ".join(sorted(t for t, i in book.targets.items() if i == price.instance))
        for price in in_force
    }
    rows = [
        {
            **msgspec.to_builtins(price),
            "usd_per_device_s": price.usd_per_device_s,
            "target": targets[price.instance],
        }
        for price in in_force
    ]
    if args.json:
        print(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode())
        return 0
    columns = [
        "instance",
        "provider",
        "region",
        "target",
        "devices",
        "device",
        "usd/h",
        "usd/device-hour",
        "from",
    ]
    print(
        render(
            columns,
            [
                [
                    p.instance,
                    p.provider,
                    p.region,
                    targets[p.instance],
                    p.devices,
                    p.device,
                    f"{p.usd_per_hour:.5g}",
                    f"{p.usd_per_hour / p.devices:.5g}",
                    p.since,
                ]
                for p in in_force
            ],
        )
    )
    print("List prices, on demand; `--json` names the source of each.")
    return 0
