"""List the models and variants on the shelf."""

from __future__ import annotations

import argparse

import msgspec

from model_repo import cascades, options
from model_repo.records import Variant
from model_repo.store import Store
from model_repo.survey import survey
from model_repo.table import render


def configure(parser: argparse.ArgumentParser) -> None:
    options.add_repository(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    problems: list[str] = []
    store = Store(args.repository)
    variants = [v for _, found in survey(store, problems) for v in found]
    options.warn(problems)
    if args.json:
        rows = [
            {
                "model": v.key.model,
                "version": v.key.version,
                "variant": v.key.variant,
                "kind": v.kind,
                "target": v.target,
                "format": v.artifact.format,
                "size_bytes": v.artifact.size_bytes,
                "sha256": v.artifact.sha256,
                "steps": [step.name for step in v.steps],
            }
            for v in variants
        ]
        print(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode())
        return 0
    if not variants:
        print(options.empty(args.repository, problems))
        return 0
    print(
        render(
            ["variant", "kind", "target", "format", "size", "steps"],
            [
                [v.key, v.kind, v.target, v.artifact.format, _size(v), _made_of(store, v)]
                for v in variants
            ],
        )
    )
    return 0


def _size(variant: Variant) -> str:
    size = variant.artifact.size_bytes
    return f"{size} B" if size < 1024 else f"{size / 1024:.0f} KiB"


def _made_of(store: Store, variant: Variant) -> str:
    """The steps that made it, or the stages of a cascade."""
    stages = " -> ".join(cascades.names(store, variant))
    return stages or " > ".join(step.name for step in variant.steps)
