"""Command-line options that several commands share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from datetime import UTC, date, datetime
from importlib import resources
from pathlib import Path

from model_repo.errors import BadInput
from model_repo.files import read_text
from model_repo.prices import PriceBook, parse_price_book

DEFAULT_REPOSITORY = Path("model_repo/models")


def add_repository(parser: argparse.ArgumentParser) -> None:
    """`--repository DIR`: $FAREBOX_REPOSITORY, else model_repo/models."""
    parser.add_argument(
        "--repository",
        type=Path,
        metavar="DIR",
        default=Path(os.environ.get("FAREBOX_REPOSITORY") or DEFAULT_REPOSITORY),
        help="model repository (default: $FAREBOX_REPOSITORY, else model_repo/models)",
    )


def add_prices(parser: argparse.ArgumentParser) -> None:
    """`--prices FILE`: $FAREBOX_PRICES, else the book shipped in the package."""
    given = os.environ.get("FAREBOX_PRICES")
    parser.add_argument(
        "--prices",
        type=Path,
        metavar="FILE",
        default=Path(given) if given else None,
        help="YAML price book (default: $FAREBOX_PRICES, else the one shipped with farebox)",
    )


def read_prices(path: Path | None) -> PriceBook:
    """The price book at `path`, or the shipped one; raises BadInput."""
    if path is None:
        text = resources.files("model_repo").joinpath("prices.yaml").read_text(encoding="utf-8")
        return parse_price_book(text, "the shipped price book")
    return parse_price_book(read_text(path, "the price book"), str(path))


def warn(problems: Iterable[str]) -> None:
    """One line on stderr for each thing that was left out."""
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)


def empty(repository: Path, problems: list[str]) -> str:
    """What to say of a repository in which nothing was found."""
    if problems:
        return f"nothing in {repository} can be read: farebox verify --repository {repository}"
    return f"{repository} is empty: farebox compile digits --repository {repository}"


def today() -> date:
    """The day whose prices hold now (UTC)."""
    return datetime.now(UTC).date()


def parse_day(text: str) -> date:
    """An ISO date; raises BadInput."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise BadInput(f"{text!r} is no date: write it as 2026-01-31") from error
