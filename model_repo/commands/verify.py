"""Check every signature, manifest and artifact on the shelf, and what cascades are made of."""

from __future__ import annotations

import argparse

from model_repo import cascades, options
from model_repo.errors import FareboxError
from model_repo.store import Store
from model_repo.survey import survey


def configure(parser: argparse.ArgumentParser) -> None:
    options.add_repository(parser)


def run(args: argparse.Namespace) -> int:
    store = Store(args.repository)
    problems: list[str] = []
    sound = 0
    for _, variants in survey(store, problems):
        for variant in variants:
            try:
                store.artifact(variant)
                if cascades.is_cascade(variant):
                    cascades.stages(cascades.read(store, variant), variant, variants)
                sound += 1
            except FareboxError as error:
                problems.append(str(error))
    options.warn(problems)
    print(f"{sound} sound, {len(problems)} broken in {args.repository}")
    return 1 if problems else 0
