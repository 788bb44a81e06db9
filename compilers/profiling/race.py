"""Runs one model in several formats against each other, to find which are worth keeping."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from compilers.datasets import Data
from compilers.profiling import calls
from compilers.profiling.stats import percentiles
from model_repo import runtime
from model_repo.records import Model
from model_repo.runtime import Session

WARM_UPS = 2
BUDGET_S = 0.5
FEWEST_ROUNDS, MOST_ROUNDS = 5, 300
MARGIN = 1.1
"""Closer than this, times what the other costs, only a full profile says which is cheaper."""

Entrants = Mapping[str, tuple[Path, str]]
"""Name -> (artifact, its format)."""
Times = dict[str, dict[int, float]]
"""Name -> batch size -> median device-seconds of a batch."""


def run(
    entrants: Entrants,
    model: Model,
    data: Data,
    batch_sizes: Sequence[int],
    seed: int,
    limit_s: float | None = None,
    apart: Collection[str] = (),
) -> Times:
    """Time batches of the first, the middle and the last size, in turns, each on the same rows.

    A model that does not batch is timed at size 1, and so are those named in `apart`, which answer
    a row at a time. limit_s bounds each run.
    Raises Corrupt for an unreadable artifact, BadInput for inputs it refuses, Expired past limit_s.
    """
    rising = sorted(set(batch_sizes)) if model.batches else [1]
    sizes = sorted({rising[0], rising[len(rising) // 2], rising[-1]})
    sessions: dict[str, Session] = {}
    try:
        for name, (path, artifact_format) in entrants.items():
            sessions[name] = runtime.load(artifact_format).open_session(path, model)
        taking = {n: {k: s for k, s in sessions.items() if n == 1 or k not in apart} for n in sizes}
        laps = _laps(taking, model, data, seed, limit_s)
    finally:
        for session in sessions.values():
            session.close()
    return {
        name: {size: percentiles(seen, 50)[0] / 1e9 for size, seen in each.items()}
        for name, each in laps.items()
    }


def _laps(
    taking: Mapping[int, Mapping[str, Session]],
    model: Model,
    data: Data,
    seed: int,
    limit_s: float | None,
) -> dict[str, dict[int, list[int]]]:
    """Device-nanoseconds of each run, by name and size; taking: who takes batches of which size.

    In rounds over all of them: a slow spell meets all alike, and each run is of another size than
    the one before, as most are where batches form by themselves; for some runtimes that costs.
    """
    rng = np.random.default_rng(seed)
    rows = calls.rows_per_call(model, data)
    seen: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    start = time.monotonic()
    for turn in range(WARM_UPS + MOST_ROUNDS):
        if turn == WARM_UPS:
            start = time.monotonic()
        elif turn >= WARM_UPS + FEWEST_ROUNDS and time.monotonic() - start > BUDGET_S:
            break
        for size, sessions in taking.items():
            inputs = calls.feed(model, data, rng.integers(len(data), size=rows or size))
            for name, session in sessions.items():
                device_ns = session.run(inputs, limit_s)[1]
                if turn >= WARM_UPS:
                    seen[name][size].append(device_ns)
    return seen


def losers(times: Times, kept: Collection[str] = ()) -> dict[str, str]:
    """Who costs over MARGIN times what another does at every size, and how much; never who is kept.

    The cheapest of those that beat one is named.
    """
    found = {}
    for name in times.keys() - set(kept):
        ratios = {other: _ratios(times[name], times[other]) for other in times if other != name}
        beating = {other: by for other, by in ratios.items() if min(by.values()) > MARGIN}
        if beating:
            other = max(beating, key=lambda each: max(beating[each].values()))
            by = ", ".join(f"{ratio:.1f}x at {size}" for size, ratio in beating[other].items())
            found[name] = f"dearer than {other} at every batch size tried: {by}"
    return found


def _ratios(mine: Mapping[int, float], others: Mapping[int, float]) -> dict[int, float]:
    return {size: mine[size] / max(others[size], 1e-9) for size in mine}
