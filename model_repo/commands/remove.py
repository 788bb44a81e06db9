"""Take a model, a version or a variant off the shelf."""

from __future__ import annotations

import argparse

from model_repo import cascades, options
from model_repo.errors import BadInput
from model_repo.store import Store
from model_repo.survey import survey


def configure(parser: argparse.ArgumentParser) -> None:
    options.add_repository(parser)
    parser.add_argument("name", metavar="MODEL[/VERSION[/VARIANT]]", help="what to take off")


def run(args: argparse.Namespace) -> int:
    parts = args.name.split("/")
    if len(parts) > 3 or not all(parts):
        raise BadInput(
            f"{args.name!r} is no name: write MODEL, MODEL/VERSION or MODEL/VERSION/VARIANT"
        )
    store = Store(args.repository)
    store.place(*parts)  # where there is nothing to remove, nothing is made to write in either
    with store.writing():
        bereft = _bereft(store, *parts) if len(parts) == 3 else []
        gone = store.remove(*parts)
    print(f"removed {gone} variant{'' if gone == 1 else 's'} of {args.name}")
    options.warn(f"{key} is not served any more: {args.name} is its stage" for key in bereft)
    return 0


def _bereft(store: Store, name: str, version: str, variant: str) -> list[str]:
    """The cascades of which it is a stage; raises BadInput if the other variants need it."""
    known = {(m.name, m.version): found for m, found in survey(store, [])}
    there = {v.key.variant: v for v in known.get((name, version), ())}
    asked = there.pop(variant, None)
    if asked and asked.kind == "reference" and there:
        raise BadInput(
            f"{name}/{version}/{variant} is the reference, without which {name}/{version} is not "
            f"served: remove the whole version, farebox remove {name}/{version}"
        )
    return [str(v.key) for v in there.values() if variant in cascades.names(store, v)]
