"""Name the variant worth compiling next for a mix of requests, and its saving in dollars a day."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import msgspec
import yaml

from compilers.advice.advise import Answer, Move, advise
from compilers.advice.guess import Guess, guesses
from compilers.advice.mix import SloMix, parse_mix
from compilers.advice.naming import PASSES
from compilers.advice.prunable import is_prunable
from model_repo import cascades, options, plugins
from model_repo.errors import NotFound
from model_repo.files import read_text
from model_repo.findings import read_skips
from model_repo.records import Variant
from model_repo.store import Store
from model_repo.survey import survey
from model_repo.table import render

EXAMPLE = """\
FILE, for example (the shares add up to 1; a class without a bound takes any variant):

requests_per_day: 100000    # or requests_per_second
classes:
- {name: strict, share: 0.2, latency_ms: 20, min_accuracy: 0.97}
- {name: bulk, share: 0.8, items: 32}    # items: rows run together (default: 1)
"""
DIGITS = re.compile(r"(\d+)")
NAMED = 3
"""Noisy variants that a line of text names; the report marks all."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog, parser.formatter_class = EXAMPLE, argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", metavar="MODEL[/VERSION]", help="the latest version if none is")
    parser.add_argument(
        "--slo-mix",
        type=Path,
        required=True,
        metavar="FILE",
        help="YAML: how many requests there are, and what they ask for, as below",
    )
    options.add_repository(parser)
    options.add_prices(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    mix = parse_mix(read_text(args.slo_mix, "the SLO mix"), str(args.slo_mix))
    store, book, day = Store(args.repository), options.read_prices(args.prices), options.today()
    model, version, variants = _served(store, args.model)
    answer = advise(
        mix,
        (model, version),
        variants,
        _makeable(store, model, version, variants),
        lambda target: book.target_price(target, day).usd_per_device_s,
    )
    if args.json:
        print(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode())
    else:
        print(_text(answer, mix))
    return 0


def _served(store: Store, asked: str) -> tuple[str, str, list[Variant]]:
    """What can be routed to of the version asked for, or the latest; raises NotFound."""
    name, _, version = asked.partition("/")
    problems: list[str] = []
    found = [(m, v) for m, v in survey(store, problems) if m.name == name]
    options.warn(problems)
    found = [(m, v) for m, v in found if version in ("", m.version)]
    if not found:
        known = ", ".join("/".join(each) for each in store.versions())
        raise NotFound(
            f"there is no model {asked!r} in {store.root}: "
            f"{f'it has {known}' if known else 'it is empty'}"
        )
    model, variants = max(found, key=lambda each: _natural(each[0].version))
    is_servable = partial(cascades.is_servable, store, others=variants)
    return (
        model.name,
        model.version,
        [v for v in variants if v.profile.source == "measured" and is_servable(v)],
    )


def _makeable(
    store: Store, model: str, version: str, variants: Sequence[Variant]
) -> Iterator[Guess]:
    """What can be foretold, without what failed before, and what would go on from that."""
    skips = read_skips(store, model, version)
    passes = plugins.names(PASSES)
    failed = [f"{name}-" for name, no in skips.items() if no.reason.partition(":")[0] in passes]
    known = {key.variant for key in store.keys(model, version)}.union(skips)
    for guess in guesses(variants, known, partial(is_prunable, store)):
        if not guess.name.startswith(tuple(failed)):
            yield guess


def _natural(version: str) -> list[tuple[int, str]]:
    """10 after 9, as the gateway orders versions."""
    parts = DIGITS.split(version)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _text(answer: Answer, mix: SloMix) -> str:
    lines = [
        _cost(answer),
        render(
            ["class", "requests a day", "served by", "usd a day"],
            [
                [
                    seat.name,
                    f"{mix.daily(each):.4g}",
                    seat.variant or f"none ({seat.missed})",
                    f"{seat.usd_per_day:.4g}" if seat.variant else "",
                ]
                for each, seat in zip(mix.classes, answer.classes, strict=True)
            ],
        ),
        *_findings(answer),
    ]
    if answer.advice:
        lines += ["add to the recipe:", _yaml(answer.advice.recipe)]
    return "\n".join(lines)


def _cost(answer: Answer) -> str:
    name = f"{answer.model}/{answer.version}"
    unserved = [repr(seat.name) for seat in answer.classes if not seat.variant]
    if len(unserved) == len(answer.classes):
        return f"{name} serves none of the classes now"
    but = f", without {', '.join(unserved)}, which nothing serves" if unserved else ""
    return f"{name} costs {answer.usd_per_day:.4g} usd a day now{but}"


def _findings(answer: Answer) -> list[str]:
    """What to compile, if anything pays, and which classes nothing would serve."""
    hopeless = [
        f"nothing foretold serves {seat.name!r} (closest: {seat.foretold})"
        for seat in answer.classes
        if seat.foretold
    ]
    is_any_served = any(seat.variant for seat in answer.classes)
    found = [_finding(answer)] if answer.advice or is_any_served else []
    return hopeless + found + ([_doubt(answer)] if answer.noisy else [])


def _doubt(answer: Answer) -> str:
    more = len(answer.noisy) - NAMED
    named = ", ".join(answer.noisy[:NAMED]) + (f" and {more} more" if more > 0 else "")
    return (
        f"the profiles of {named} are noisy: "
        f"run farebox measure {answer.model}/{answer.version} first"
    )


def _finding(answer: Answer) -> str:
    found = answer.advice
    if found is None:
        nearest = f"; the closest: {answer.closest}" if answer.closest else ""
        return f"nothing that the shelf lets one foretell would cost less{nearest}"
    moves = "; ".join(map(_moved, found.moves))
    return (
        f"compile {found.variant}: saves {found.saving_usd_per_day:.3g} usd a day "
        f"({found.saving_low:.3g} to {found.saving_high:.3g}), as {moves}; foretold, since "
        f"{found.why}, at accuracy {found.accuracy:.4f}, {found.accuracy_low:.4f} or better; "
        "compile it to know"
    )


def _moved(move: Move) -> str:
    if move.left is None:
        return f"{move.name!r}, which nothing serves, goes to it for {move.usd_per_day:.3g} usd"
    return (
        f"{move.name!r} leaves {move.left} ({move.left_usd_per_day:.3g} usd) for it "
        f"({move.usd_per_day:.3g})"
    )


def _yaml(recipe: object) -> str:
    text = yaml.safe_dump(recipe, sort_keys=False, default_flow_style=None, width=100)
    return "\n".join(f"  {line}" for line in text.splitlines())
