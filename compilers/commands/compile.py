"""Compile a recipe into measured variants on the shelf."""

from __future__ import annotations

import argparse
from importlib import resources
from pathlib import Path

from compilers.build import compile_plan
from compilers.plan import read_plan
from compilers.progress import Progress
from model_repo import options
from model_repo.commands import report
from model_repo.errors import NotFound
from model_repo.store import Store

RECIPE = "recipe.yaml"


def configure(parser: argparse.ArgumentParser) -> None:
    options.add_repository(parser)
    options.add_prices(parser)
    parser.add_argument(
        "recipe",
        metavar="NAME|RECIPE.yaml",
        help="a recipe that ships with farebox, by name, or the path of your own",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    plan = read_plan(find_recipe(args.recipe))
    book, day = options.read_prices(args.prices), options.today()
    for target in plan.recipe.targets:
        book.target_price(target, day)
    with Progress(len(plan.variants)) as progress:
        failures = compile_plan(plan, Store(args.repository), progress)
    report.run(
        argparse.Namespace(
            model=plan.recipe.model,
            repository=args.repository,
            prices=args.prices,
            json=args.json,
            png=None,
        )
    )
    return 1 if failures else 0


def find_recipe(name: str) -> Path:
    """The file of a shipped recipe, or the path given; raises NotFound naming those that ship."""
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return Path(name)
    folder = Path(str(resources.files("compilers.recipes")))
    shipped = sorted(path.parent.name for path in folder.glob(f"*/{RECIPE}"))
    if name not in shipped:
        raise NotFound(
            f"no recipe {name!r} ships with farebox: choose one of {', '.join(shipped)}, "
            "or give the path of your own, ending in .yaml"
        )
    return folder / name / RECIPE
