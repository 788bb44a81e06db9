"""The cheapest variant that meets every bound, and an honest reason when there is none."""

from __future__ import annotations

import math

import pytest
from builders import candidate, lane, pending, scheduler, slo, variant
from builders import entry as entry_of
from builders import offer as offer_of
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import routing
from gateway.core.overhead import START_S, Overhead
from gateway.core.pool import Batch, Pool
from gateway.core.refusal import refusals
from gateway.core.routing import Desk, Policy, Refused, Route
from model_repo.errors import Infeasible, NotFound, Unavailable
from model_repo.records import SLO, Ask, Candidate
from policies.routing import cheapest

UNIT = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])  # few values, so that ties are common
CANDIDATES = st.lists(st.builds(candidate, st.text("abc", max_size=3), UNIT, UNIT, UNIT))
BOUND = st.none() | UNIT


def desk(*names: str, is_best_effort: bool = False) -> Desk:
    """`low` is fast, cheap and poor; `mid` is between; `ref` is slow, dear and good."""
    known = {"ref": (0.1, 0.95), "mid": (0.03, 0.9), "low": (0.01, 0.8)}
    lanes = tuple(lane(variant(name, *known[name])) for name in names or known)
    policy = Policy("cheapest", cheapest.choose, is_best_effort)
    return Desk(lanes, lanes, lanes[0], policy, {})


def route(
    bounds: SLO, at: Desk | None = None, pool: Pool | None = None, deadline_s: float = math.inf
) -> Route:
    found = routing.route(
        at or desk(), pending(slo=bounds, deadline_s=deadline_s), pool or Pool(2), Overhead(0.0),
        0.0, 0.5,
    )  # fmt: skip
    if isinstance(found, Refused):
        raise found.error
    return found


def full(at: Desk) -> Pool:
    """Devices that are taken for a second."""
    pool = Pool(1)
    pool.running[1] = Batch(1, at.lanes[0], at.lanes[0].replicas[0], [], 1, 0.0, 1.0)
    return pool


@given(CANDIDATES, BOUND, BOUND, UNIT | st.just(math.inf))
def test_cheapest_is_what_trying_them_all_would_find(
    found: list[Candidate], floor: float | None, ceiling: float | None, slack_s: float
) -> None:
    ask = Ask(SLO(None, floor, ceiling), slack_s, "default", 0.0, 0.5, {})
    feasible = [
        c
        for c in found
        if (floor is None or c.accuracy_low >= floor)
        and (ceiling is None or c.cost_usd <= ceiling)
        and c.latency_s <= slack_s
    ]
    wanted = min(feasible, key=lambda c: (c.cost_usd, -c.accuracy_low, c.latency_s), default=None)
    chosen = cheapest.choose(found, ask)
    assert (chosen is None) == (wanted is None)
    if chosen and wanted:
        assert chosen in feasible
        order = (chosen.cost_usd, chosen.accuracy_low, chosen.latency_s)
        assert order == (wanted.cost_usd, wanted.accuracy_low, wanted.latency_s)


@given(CANDIDATES, BOUND, BOUND, UNIT)
def test_a_refusal_names_every_bound_that_is_broken_and_no_other(
    found: list[Candidate], floor: float | None, ceiling: float | None, slack_s: float
) -> None:
    bounds = SLO(1.0, floor, ceiling)
    ask = Ask(bounds, slack_s, "default", 0.0, 0.5, {})
    reasons = refusals(found, bounds, slack_s)
    assert len(reasons) == sum(cheapest.choose([c], ask) is None for c in found)
    by_bound = {
        "accuracy": sum(floor is not None and c.accuracy_low < floor for c in found),
        "latency": sum(c.latency_s > slack_s for c in found),
        "cost": sum(ceiling is not None and c.cost_usd > ceiling for c in found),
    }
    parts = [part.split(":")[0].strip() for _, text in reasons for part in text.split(";")]
    assert {name: parts.count(name) for name in by_bound} == by_bound


@pytest.mark.parametrize(
    ("bounds", "chosen"),
    [
        (slo(), "low"),
        (slo(accuracy=0.8), "low"),
        (slo(accuracy=0.81), "mid"),
        (slo(accuracy=0.95), "ref"),
        (slo(0.05, 0.85), "mid"),
        (slo(usd=2e-5), "low"),
    ],
)
def test_each_bound_leads_to_the_cheapest_that_meets_it(bounds: SLO, chosen: str) -> None:
    found = route(bounds)
    assert found.candidate.key.variant == chosen == found.lane.key.variant
    assert found.met and found.policy == "cheapest" and len(found.candidates) == 3


@pytest.mark.parametrize(
    ("bounds", "word"),
    [
        (slo(accuracy=0.96), "accuracy"),
        (slo(0.001), "latency"),
        (slo(usd=1e-9), "cost"),
    ],
)
def test_what_no_variant_could_ever_meet_is_not_to_be_retried(bounds: SLO, word: str) -> None:
    with pytest.raises(Infeasible, match="could ever meet") as caught:
        route(bounds)
    for name in ("ref", "mid", "low"):
        assert f"{name} ({word}: " in str(caught.value)


def test_what_only_the_queue_forbids_may_be_retried() -> None:
    with pytest.raises(Unavailable, match=r"now, try again.*low \(latency: "):
        route(slo(0.05), pool=full(desk()))


def test_a_bound_out_of_reach_is_final_even_when_busy() -> None:
    with pytest.raises(Infeasible, match="accuracy"):
        route(slo(0.05, 0.96), pool=full(desk()))


def test_a_bound_that_only_the_overhead_of_the_moment_forbids_may_be_retried() -> None:
    slow = Overhead(0.0)
    slow.observe(0.5)
    found = routing.route(desk(), pending(slo=slo(0.05)), Pool(2), slow, 0.0, 0.5)
    assert isinstance(found, Refused) and isinstance(found.error, Unavailable)


def test_overhead_and_margin_are_kept_back() -> None:
    needed = 0.01 + START_S
    assert route(slo(needed + 1e-6)).candidate.key.variant == "low"
    with pytest.raises(Infeasible, match="latency"):
        route(slo(needed - 1e-6))
    tight = Overhead(0.002)
    found = routing.route(desk(), pending(slo=slo(needed + 0.001)), Pool(2), tight, 0.0, 0.5)
    assert isinstance(found, Refused)


def test_a_deadline_bounds_latency_for_callers_that_know_no_slo() -> None:
    assert route(slo(accuracy=0.9), deadline_s=1.0).candidate.key.variant == "mid"
    with pytest.raises(Infeasible, match="latency"):
        route(slo(), deadline_s=0.005)


def test_time_already_spent_is_taken_off() -> None:
    assert routing.slack(slo(0.1), pending(), 0.01, 0.03) == pytest.approx(0.06)
    assert routing.slack(slo(), pending(), 0.01, 0.03) == math.inf
    assert routing.slack(slo(0.1), pending(deadline_s=0.05), 0.01, 0.03) == pytest.approx(0.01)


def test_best_effort_keeps_the_accuracy_floor_then_hurries() -> None:
    found = route(slo(0.001, 0.85), desk(is_best_effort=True))
    assert found.candidate.key.variant == "mid"
    assert (found.met, found.policy) == (False, "best_effort")


def test_best_effort_without_a_variant_that_accurate_takes_the_most_accurate() -> None:
    assert route(slo(accuracy=0.99), desk(is_best_effort=True)).candidate.key.variant == "ref"


@given(CANDIDATES.filter(bool), BOUND)
def test_best_effort_always_answers(found: list[Candidate], floor: float | None) -> None:
    chosen = routing.best_effort(found, SLO(None, floor, None))
    accurate = [c for c in found if c.accuracy_low >= (floor or 0.0)]
    if accurate:
        assert chosen in accurate and chosen.latency_s == min(c.latency_s for c in accurate)
    else:
        assert chosen.accuracy_low == max(c.accuracy_low for c in found)


def test_a_pin_goes_where_it_points_and_says_whether_the_slo_holds() -> None:
    at = desk()
    for bounds, is_met in ((slo(), True), (slo(0.05), False), (slo(accuracy=0.99), False)):
        found = routing.pin(at.lanes[0], pending(slo=bounds), Pool(2), Overhead(0.0), 0.0)
        assert (found.candidate.key.variant, found.policy, found.met) == ("ref", "pin", is_met)


def test_a_pin_reaches_a_variant_that_is_not_routable_and_routing_does_not() -> None:
    found = entry_of(offer_of(variant("ref", 0.1)), offer_of(variant("sim"), is_routable=False))
    made = scheduler(found)
    assert made.arrive(found, pending(), "sim", 0.0, 0.5).candidate.key.variant == "sim"
    assert made.arrive(found, pending(), "", 0.0, 0.5).candidate.key.variant == "ref"
    with pytest.raises(Infeasible, match="; 1 more are not routed to unless allow_estimated"):
        made.arrive(found, pending(slo=slo(accuracy=0.99)), "", 0.0, 0.5)
    with pytest.raises(NotFound, match="no variant 'x'"):
        made.arrive(found, pending(), "x", 0.0, 0.5)


def test_a_model_with_nothing_to_route_to_says_so() -> None:
    found = entry_of(offer_of(variant("ref"), is_routable=False))
    with pytest.raises(Infeasible, match="allow_estimated"):
        scheduler(found).arrive(found, pending(), "", 0.0, 0.5)
