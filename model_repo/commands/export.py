"""Write shelved variants for another serving system, such as a model directory for Triton."""

from __future__ import annotations

import argparse
from pathlib import Path

from model_repo import options, plugins
from model_repo.errors import BadInput, NotFound, Unsupported
from model_repo.records import Model, Variant
from model_repo.store import Store
from model_repo.survey import survey

EXPORTS = "model_repo.exports"


def configure(parser: argparse.ArgumentParser) -> None:
    options.add_repository(parser)
    parser.add_argument("name", metavar="MODEL[/VERSION[/VARIANT]]", help="what to write")
    parser.add_argument(
        "--to", metavar="SYSTEM", required=True, help=f"one of {', '.join(plugins.names(EXPORTS))}"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", required=True, help="the folder to write into"
    )


def run(args: argparse.Namespace) -> int:
    system = plugins.load(EXPORTS, args.to)
    store = Store(args.repository)
    model, variants = _asked(store, args.name)
    is_one = args.name.count("/") == 2
    written, refused = [], []
    for variant in variants:
        try:
            written.append(system.write(store, variant, model, args.out))
        except Unsupported as error:
            if is_one:
                raise
            refused.append(f"{error}")
    options.warn(refused)
    if not written:
        raise BadInput(f"{args.name} has no variant that can be written for {args.to}")
    for place in written:
        print(f"wrote {place}")
    return 0


def _asked(store: Store, name: str) -> tuple[Model, list[Variant]]:
    """The model and the variants named; raises NotFound, or BadInput for several versions."""
    parts = name.split("/")
    if len(parts) > 3 or not all(parts):
        raise BadInput(f"{name!r} is no name: write MODEL, MODEL/VERSION or MODEL/VERSION/VARIANT")
    store.place(*parts)
    problems: list[str] = []
    found = [
        (m, v) for m, v in survey(store, problems) if [m.name, m.version][: len(parts)] == parts[:2]
    ]
    options.warn(problems)
    if len(found) > 1:
        versions = ", ".join(model.version for model, _ in found)
        raise BadInput(f"{name} has the versions {versions}: name one of them, {name}/VERSION")
    chosen = [
        (model, [v for v in variants if len(parts) < 3 or v.key.variant == parts[2]])
        for model, variants in found
    ]
    if not chosen or not chosen[0][1]:
        raise NotFound(f"nothing of {name} can be read: farebox verify says why")
    return chosen[0]
