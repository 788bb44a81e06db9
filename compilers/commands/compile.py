"""Compile a recipe into measured variants on the shelf, or search for better ones."""

from __future__ import annotations

import argparse
import sys
from datetime import date
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from compilers.build import compile_plan
from compilers.plan import TARGETS, Plan, read_plan
from compilers.progress import Progress
from compilers.search.budget import parse_budget
from model_repo import options, plugins
from model_repo.commands import report
from model_repo.errors import BadInput, NotFound
from model_repo.prices import PriceBook
from model_repo.store import Store

if TYPE_CHECKING:
    from compilers.search.run import Findings

RECIPE = "recipe.yaml"
BUDGET, KEPT = "10m", 5


def configure(parser: argparse.ArgumentParser) -> None:
    options.add_repository(parser)
    options.add_prices(parser)
    parser.add_argument(
        "recipe",
        metavar="NAME|RECIPE.yaml",
        help="a recipe that ships with farebox, by name, or the path of your own",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--targets",
        metavar="NAME,...",
        help="compile for these instead of the recipe's: " + ",".join(plugins.names(TARGETS)),
    )
    parser.add_argument(
        "--search", action="store_true", help="look for variants that the recipe does not name"
    )
    parser.add_argument(
        "--budget", metavar="TIME", help=f"how long to search: 90s, 10m, 1h (default: {BUDGET})"
    )
    parser.add_argument(
        "--keep",
        type=int,
        metavar="N",
        help=f"shelve at most N that are found per search (default: {KEPT})",
    )


def run(args: argparse.Namespace) -> int:
    budget_s = _check_search(args)
    plan = read_plan(find_recipe(args.recipe), _targets(args.targets))
    book, day = options.read_prices(args.prices), options.today()
    for target in plan.recipe.targets:
        book.target_price(target.name, day)
    store = Store(args.repository)
    try:
        failures = _compile(plan, store)
        found = ""
        if args.search:
            found, more = _search(plan, store, args, budget_s, book, day)
            failures |= more
    except KeyboardInterrupt:
        print(
            "farebox compile: interrupted; what was done is kept, and the same command goes on "
            "from there",
            file=sys.stderr,
        )
        return 130
    report.run(
        argparse.Namespace(
            model=plan.recipe.model,
            repository=args.repository,
            prices=args.prices,
            json=args.json,
            png=None,
        )
    )
    if found:
        print(found, file=sys.stderr if args.json else sys.stdout)
    return 1 if failures else 0


def _targets(given: str | None) -> tuple[str, ...]:
    """The names given; raises BadInput for an empty one."""
    if given is None:
        return ()
    names = tuple(name.strip() for name in given.split(","))
    if not all(names):
        raise BadInput(f"--targets is {given!r}: give names with commas between, such as cpu,tpu")
    return names


def _check_search(args: argparse.Namespace) -> float:
    """The budget in seconds; raises BadInput."""
    if not args.search and (args.budget or args.keep is not None):
        raise BadInput("--budget and --keep say how to search: give --search with them")
    if args.keep is not None and args.keep < 0:
        raise BadInput(f"--keep is {args.keep}: give how many variants to shelve, 0 or more")
    return parse_budget(BUDGET if args.budget is None else args.budget)


def _compile(plan: Plan, store: Store) -> dict[str, str]:
    with Progress(len(plan.variants)) as progress:
        return compile_plan(plan, store, progress)


def _search(
    plan: Plan,
    store: Store,
    args: argparse.Namespace,
    budget_s: float,
    book: PriceBook,
    day: date,
) -> tuple[str, dict[str, str]]:
    """What was found, in words, and what of it could not be shelved."""
    from compilers.search.run import search
    from compilers.search.watch import Watch

    def usd_per_device_s(target: str) -> float:
        return book.target_price(target, day).usd_per_device_s

    watch = Watch(budget_s)
    try:
        most = KEPT if args.keep is None else args.keep
        findings = search(plan, store, watch, most, usd_per_device_s)
    finally:
        watch.close()
    return _shelve(findings, plan, store, book, day)


def _shelve(
    findings: Findings, plan: Plan, store: Store, book: PriceBook, day: date
) -> tuple[str, dict[str, str]]:
    """As `_search`, once exploring has ended."""
    from compilers.search.found import lines
    from compilers.search.standing import settle

    before = set(store.keys(plan.recipe.model, plan.recipe.version))
    failures = _compile(findings.plan, store)
    found = {each.key: each.name for each in findings.plan.variants[len(plan.variants) :]}
    made = set(store.keys(plan.recipe.model, plan.recipe.version))
    told = [findings.summary, *settle(findings.plan, store, found.keys() - before, book, day)]
    there = set(store.keys(plan.recipe.model, plan.recipe.version))
    if made - there:  # cascades are chosen among what is on the shelf
        failures |= _compile(findings.plan, store)
    kept = {found[key] for key in found.keys() & there}
    if adding := [lines(name, of) for name, of in findings.variants.items() if name in kept]:
        told += ["to have them in the recipe, add under variants:", *adding]
    return "\n".join(told), failures


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
