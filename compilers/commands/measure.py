"""Measure latency, cost and memory of shelved variants again, on the host that will serve them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from model_repo import options, runtime
from model_repo.cascades import is_cascade
from model_repo.errors import BadInput
from model_repo.records import Model, Profile, Variant
from model_repo.report_text import MIXED, NOISY
from model_repo.store import Store
from model_repo.survey import survey
from model_repo.table import render

if TYPE_CHECKING:
    from compilers.profiling.remeasure import Renewed

ELSEWHERE = "left as they were, since this machine has no hardware of their targets"
COLUMNS = ["variant", "device us/item", "before", "p99 ms", "before", ""]
FROM_STAGES = "computed from the profiles of the stages: measure those for new times"
DRIFT = 0.1
DRIFTED = (
    f"device time over {DRIFT:.0%} from what this host was shelved with: it is not steady, or has "
    "changed, so that neither figure is exact"
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", nargs="?", default="", metavar="MODEL[/VERSION[/VARIANT]]", help="default: all"
    )
    options.add_repository(parser)
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FILE.npz",
        help="rows to measure with, one array for each input (default: the shelved example)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON: profiles before and after")


def run(args: argparse.Namespace) -> int:
    store, problems = Store(args.repository), list[str]()
    parts = check_name(args.name)
    if parts:
        store.place(*parts)
    shelf = [
        (model, found)
        for model, found in survey(store, problems)
        if [model.name, model.version][: len(parts)] == parts[:2] and found
    ]
    if args.data and len(shelf) > 1:
        raise BadInput("--data fits one model version: name it as MODEL/VERSION")
    renewed: list[Renewed] = []
    if shelf:
        with store.writing():
            for model, found in shelf:
                renewed += _measure(store, model, found, parts, args.data, problems)
    options.warn(problems)
    print(_as_json(renewed) if args.json else _as_text(renewed, args.repository, problems))
    return 1 if problems else 0


def check_name(name: str) -> list[str]:
    """The parts of MODEL[/VERSION[/VARIANT]], none for ""; raises BadInput."""
    parts = name.split("/") if name else []
    if len(parts) > 3 or not all(parts):
        raise BadInput(f"{name!r} is no name: write MODEL, MODEL/VERSION or MODEL/VERSION/VARIANT")
    return parts


def _measure(
    store: Store,
    model: Model,
    found: Sequence[Variant],
    parts: Sequence[str],
    data: Path | None,
    problems: list[str],
) -> list[Renewed]:
    from compilers.profiling.remeasure import Remeasure, rows

    wanted = [variant for variant in found if variant.key.variant in parts[2:]]
    if len(parts) < 3:
        wanted = [v for v in found if is_cascade(v) or runtime.device(v) == v.target]
        if others := [str(variant.key) for variant in found if variant not in wanted]:
            _remark(f"{ELSEWHERE}: {', '.join(others)}")
    work = Remeasure(store, model, found, rows(store, model, data, _remark), _show, problems)
    try:
        return list(work.run(wanted))
    finally:
        _show("")


def _remark(text: str) -> None:
    print(text, file=sys.stderr)


def _show(text: str) -> None:
    """One line on a terminal, in place of the one before."""
    if sys.stderr.isatty():
        print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)


def _as_json(renewed: Sequence[Renewed]) -> str:
    rows = [
        {"key": str(each.after.key), "before": each.before.profile, "after": each.after.profile}
        for each in renewed
    ]
    return msgspec.json.format(msgspec.json.encode(rows), indent=2).decode()


def _as_text(renewed: Sequence[Renewed], repository: Path, problems: list[str]) -> str:
    if not renewed:
        return "nothing was measured" if problems else options.empty(repository, problems)
    lines = [FROM_STAGES] if all(is_cascade(each.after) for each in renewed) else _hosts(renewed)
    lines.append(render(COLUMNS, [_cells(each) for each in renewed]))
    if drifted := [str(each.after.key) for each in renewed if has_drifted(each)]:
        lines.append(f"{DRIFTED}: {', '.join(drifted)}")
    if not all(each.after.profile.is_settled for each in renewed):
        lines.append(NOISY)
    if any(is_cascade(e.after) and e.after.profile.source == "estimated" for e in renewed):
        lines.append(MIXED)
    return "\n".join(lines)


def _hosts(renewed: Sequence[Renewed]) -> list[str]:
    """Where it was measured now, and where before."""
    now = renewed[0].after.profile
    flags = f" ({' '.join(now.cpu_flags)})" if now.cpu_flags else ""
    others = sorted({e.before.profile.host for e in renewed} - {now.host})
    return [f"measured on {now.host}{flags}", *(f"before on {host}" for host in others)]


def has_drifted(each: Renewed) -> bool:
    """Whether a device time is over DRIFT more or less than the same host was shelved with."""
    before, after = each.before.profile, each.after.profile
    if before.machine != after.machine:
        return False
    known = {point.batch_size: point.device_s for point in before.latency}
    pairs = [(known[p.batch_size], p.device_s) for p in after.latency if p.batch_size in known]
    return any(abs(now - then) > DRIFT * then for then, now in pairs)


def _cells(each: Renewed) -> list[str]:
    before, after = each.before.profile, each.after.profile
    marks = [f"was {before.source}"] if before.source != after.source else []
    marks += [] if after.is_settled else ["noisy"]
    return [
        str(each.after.key),
        _item_us(after),
        _item_us(before),
        f"{after.latency[0].p99_s * 1e3:.3f}",
        f"{before.latency[0].p99_s * 1e3:.3f}",
        " ".join(marks),
    ]


def _item_us(profile: Profile) -> str:
    return f"{profile.best_point.device_s / profile.best_point.batch_size * 1e6:.2f}"
