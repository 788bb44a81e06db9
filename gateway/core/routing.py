"""The decision for one request: which variant answers it, and why not the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from gateway.core import forecast
from gateway.core.batching import Lane, Pending, Stages
from gateway.core.catalog import Entry, Identity
from gateway.core.overhead import Overhead
from gateway.core.pool import Pool
from gateway.core.refusal import Refusal, refusals, sentence
from model_repo.errors import FareboxError, Infeasible, Unavailable
from model_repo.records import SLO, Ask, Candidate

Choose = Callable[[Sequence[Candidate], Ask], Candidate | None]


class Policy(Struct, frozen=True):
    """A policy by name; when nothing fits, `is_best_effort` answers as well as can be."""

    name: str
    choose: Choose
    is_best_effort: bool = False


class Desk(Struct, frozen=True):
    """What routing needs for one model version; `state` is the policy's own, kept between calls.

    lanes: the queues a request may wait in: those of `routable`, then both of each cascade.
    barred: how many variants are reached by a pin only.
    """

    lanes: tuple[Lane, ...]
    routable: tuple[Lane, ...]
    reference: Lane
    policy: Policy
    state: dict[str, Any]
    cascades: tuple[Stages, ...] = ()
    barred: int = 0


class Route(Struct, frozen=True):
    """What was chosen, by which policy, and what it was chosen from."""

    lane: Lane | Stages
    candidate: Candidate
    policy: str
    met: bool
    candidates: Sequence[Candidate]
    slack_s: float
    cascades: Sequence[Stages] = ()


class Refused(Struct, frozen=True):
    """Nothing fits: the error for the caller, and the bound each variant failed."""

    error: FareboxError
    reasons: Sequence[Refusal]


def desk(entry: Entry, served: Mapping[Identity, Lane | Stages], policy: Policy) -> Desk:
    """The desk of one model version; `served` by the identity of what is offered."""
    reference = served[entry.reference.identity]
    assert isinstance(reference, Lane), "a reference is no cascade"
    open_to_all = [served[offer.identity] for offer in entry.offers if offer.is_routable]
    routable = tuple(each for each in open_to_all if isinstance(each, Lane))
    cascades = tuple(each for each in open_to_all if isinstance(each, Stages))
    stages = [lane for each in cascades for lane in (each.first, each.second)]
    barred = len(entry.offers) - len(open_to_all)
    return Desk((*routable, *stages), routable, reference, policy, {}, cascades, barred)


def route(
    desk: Desk, pending: Pending, pool: Pool, overhead: Overhead, now_s: float, draw: float
) -> Route | Refused:
    """Let the policy choose among the routable variants."""
    slo = pending.slo
    left = slack(slo, pending, overhead.kept_back_s, now_s)
    waits = pool.waits(desk.lanes, now_s)
    found = forecast.candidates(desk.routable, pending.items, waits)
    if desk.cascades:
        behind = waits and waits[len(desk.routable) :]
        found += forecast.cascaded(desk.cascades, pending.items, behind)
    ask = Ask(slo, left, pending.tenant, now_s, draw, desk.state)
    chosen = desk.policy.choose(found, ask)
    if chosen is not None:
        return _route(desk, chosen, desk.policy.name, True, found, left)
    if not desk.policy.is_best_effort or not found:
        return _nothing_fits(desk, pending, found, ask, overhead)
    chosen = best_effort(found, slo)
    return _route(desk, chosen, "best_effort", False, found, left)


def pin(
    lane: Lane | Stages, pending: Pending, pool: Pool, overhead: Overhead, now_s: float
) -> Route:
    """The route to a variant the caller named, whatever the SLO says of it."""
    left = slack(pending.slo, pending, overhead.kept_back_s, now_s)
    if isinstance(lane, Stages):
        waits = pool.waits([lane.first, lane.second], now_s)
        found = forecast.cascaded([lane], pending.items, waits)
    else:
        found = forecast.candidates([lane], pending.items, pool.waits([lane], now_s))
    met = not refusals(found, pending.slo, left)
    cascades = [lane] if isinstance(lane, Stages) else []
    return Route(lane, found[0], "pin", met, found, left, cascades)


def slack(slo: SLO, pending: Pending, kept_back_s: float, now_s: float) -> float:
    """Seconds left for queue and service; infinite without a latency bound or a deadline.

    kept_back_s: the gateway's own overhead and the margin, taken off every latency bound.
    """
    due = pending.deadline_s
    if slo.latency_s is not None:
        due = min(due, pending.arrived_s + slo.latency_s)
    return due - now_s - kept_back_s if due != math.inf else math.inf


def best_effort(candidates: Sequence[Candidate], slo: SLO) -> Candidate:
    """When nothing fits: the fastest that keeps the accuracy floor, else the most accurate."""
    floor = slo.min_accuracy or 0.0
    accurate = [c for c in candidates if c.accuracy_low >= floor]
    if accurate:
        return min(accurate, key=lambda c: (c.latency_s, c.cost_usd))
    return max(candidates, key=lambda c: (c.accuracy_low, -c.latency_s))


def _nothing_fits(
    desk: Desk, pending: Pending, found: Sequence[Candidate], ask: Ask, overhead: Overhead
) -> Refused:
    """Could it ever be met (Unavailable: 503), or never (Infeasible: 422)?

    It could if the policy finds a variant on an idle gateway with the whole budget left.
    """
    if not found:
        return Refused(
            Infeasible(
                "no variant of this model may be routed to: none was measured on the hardware "
                "it is for; pin one, or set allow_estimated"
            ),
            [],
        )
    idle = forecast.idle(desk.routable, pending.items)
    idle += forecast.cascaded(desk.cascades, pending.items, None, is_idle=True)
    full = slack(ask.slo, pending, overhead.least_kept_back_s, pending.arrived_s)
    later = Ask(ask.slo, full, ask.tenant, ask.now_s, ask.draw, ask.state)
    if desk.policy.choose(idle, later) is None:
        reasons = refusals(idle, ask.slo, full)
        own = _own_share(reasons, overhead.least_kept_back_s)
        message = f"no variant could ever meet the SLO{own}: {sentence(reasons)}"
        return Refused(Infeasible(message + _barred(desk)), reasons)
    reasons = refusals(found, ask.slo, ask.slack_s)
    own = _own_share(reasons, overhead.kept_back_s)
    message = f"no variant can meet the SLO now, try again shortly{own}: {sentence(reasons)}"
    return Refused(Unavailable(message + _barred(desk)), reasons)


def _barred(desk: Desk) -> str:
    if not desk.barred:
        return ""
    return f"; {desk.barred} more are not routed to unless allow_estimated is set"


def _own_share(reasons: Sequence[Refusal], kept_back_s: float) -> str:
    if not any("latency: " in reason for _, reason in reasons):
        return ""
    return f" (of the time allowed, {kept_back_s * 1e3:.3f} ms are the gateway's own)"


def _route(
    desk: Desk,
    chosen: Candidate,
    policy: str,
    met: bool,
    found: Sequence[Candidate],
    slack_s: float,
) -> Route:
    lanes: tuple[Lane | Stages, ...] = desk.routable
    if desk.cascades:
        lanes = (*lanes, *desk.cascades)
    lane = next(lane for lane in lanes if lane.key is chosen.key)
    return Route(lane, chosen, policy, met, found, slack_s, desk.cascades)
