"""The least cost among the variants that meet every bound; ties to accuracy, then speed."""

from __future__ import annotations

from collections.abc import Sequence

from model_repo.records import Ask, Candidate


def choose(candidates: Sequence[Candidate], ask: Ask) -> Candidate | None:
    """The cheapest candidate that meets the SLO, or None.

    The accuracy bound is held against the lower end of the interval, never the mean.
    """
    floor = ask.slo.min_accuracy or 0.0
    ceiling = ask.slo.max_cost_usd
    slack = ask.slack_s
    best: Candidate | None = None
    for candidate in candidates:
        if candidate.accuracy_low < floor or candidate.latency_s > slack:
            continue
        cost = candidate.cost_usd
        if ceiling is not None and cost > ceiling:
            continue
        if (
            best is None
            or cost < best.cost_usd
            or (cost == best.cost_usd and _is_better(candidate, best))
        ):
            best = candidate
    return best


def _is_better(one: Candidate, other: Candidate) -> bool:
    return (one.accuracy_low, -one.latency_s) > (other.accuracy_low, -other.latency_s)
