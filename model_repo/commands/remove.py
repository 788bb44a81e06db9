"""Take a model, a version or a variant off the shelf."""

from __future__ import annotations

import argparse

from model_repo import options
from model_repo.errors import BadInput
from model_repo.store import Store


def configure(parser: argparse.ArgumentParser) -> None:
    options.add_repository(parser)
    parser.add_argument("name", metavar="MODEL[/VERSION[/VARIANT]]")


def run(args: argparse.Namespace) -> int:
    parts = args.name.split("/")
    if len(parts) > 3 or not all(parts):
        raise BadInput(
            f"{args.name!r} is no name: write MODEL, MODEL/VERSION or MODEL/VERSION/VARIANT"
        )
    store = Store(args.repository)
    store.place(*parts)  # where there is nothing to remove, nothing is made to write in either
    with store.writing():
        gone = store.remove(*parts)
    print(f"removed {gone} variant{'' if gone == 1 else 's'} of {args.name}")
    return 0
