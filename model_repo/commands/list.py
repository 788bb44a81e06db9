"""List the models and variants on the shelf."""

from __future__ import annotations

import argparse

import msgspec

from model_repo import options
from model_repo.store import Store
from model_repo.survey import survey
from model_repo.table import render


def configure(parser: argparse.ArgumentParser) -> None:
    options.add_repository(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    problems: list[str] = []
    variants = [v for _, found in survey(Store(args.repository), problems) for v in found]
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
            ["variant", "kind", "target", "format", "KiB", "steps"],
            [
                [
                    v.key,
                    v.kind,
                    v.target,
                    v.artifact.format,
                    f"{v.artifact.size_bytes / 1024:.0f}",
                    " > ".join(step.name for step in v.steps),
                ]
                for v in variants
            ],
        )
    )
    return 0
