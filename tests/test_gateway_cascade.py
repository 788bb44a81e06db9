"""Cascades in the pure core: what goes on, what is forecast, and who pays for which stage."""

from __future__ import annotations

import numpy as np
import pytest
from builders import adopt, cascade, entry, offer, pending, scheduler, slo, variant
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import cascade as stages
from gateway.core import explain, forecast
from gateway.core.batching import Lane, Stages
from gateway.core.catalog import Entry
from gateway.core.ledger import AccountKey
from gateway.core.pool import Batch
from gateway.core.scheduler import Scheduler, Shed, Start
from model_repo.errors import BadInput, Expired, Infeasible

LOW_S, REF_S, USD = 0.01, 0.1, 0.001


def catalog(threshold: float = 0.5, escalation: float = 0.25) -> Entry:
    """ref takes ten times as long as low; cas is a cascade of both."""
    known = cascade("low", "ref", threshold, escalation)
    return entry(
        offer(variant("ref", REF_S, 0.95)),
        offer(variant("low", LOW_S, 0.8)),
        offer(variant("cas", 0.035, 0.93), stages=known),
    )


def starts(made: Scheduler, now_s: float) -> list[Batch]:
    return [action.batch for action in made.tick(now_s) if isinstance(action, Start)]


def usage(made: Scheduler) -> dict[str, int]:
    ledger = made.books["cpu"]
    return {key.variant: ledger.usage_ns(key) for key in ledger.accounts() if key.variant}


@given(st.data(), st.integers(1, 9), st.integers(2, 5), st.floats(0, 1))
def test_a_merged_answer_is_the_offline_one_row_by_row(
    data: st.DataObject, rows: int, classes: int, threshold: float
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    one, two = (rng.random((rows, classes)).astype(np.float32) for _ in range(2))
    first = {"y": one.copy(), "z": np.arange(rows)}
    second = {"y": two, "z": -np.arange(rows)}
    known = cascade("low", "ref", threshold)
    places = stages.unsure(known, first)
    merged = stages.merge(first, places, stages.pick(second, places))
    for row in range(rows):
        best = np.sort(one[row])[::-1]
        source = second if best[0] - best[1] < threshold else first
        for name, array in merged.items():
            assert np.array_equal(array[row], source[name][row])
    assert np.array_equal(first["y"], one), "what it was merged from is as it was"


def test_scores_that_are_no_numbers_go_on() -> None:
    scores = np.array([[np.nan, 1.0], [0.0, 9.0]], np.float32)
    assert stages.unsure(cascade("low", "ref", 0.0), {"y": scores}).tolist() == [0]


def test_a_row_as_sure_as_the_threshold_stays() -> None:
    scores = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)
    assert stages.unsure(cascade("low", "ref", 0.5), {"y": scores}).tolist() == [1]
    assert stages.unsure(cascade("low", "ref", 0.0), {"y": scores}).tolist() == []


def test_stages_that_answer_in_different_forms_are_not_merged() -> None:
    one, two = {"y": np.zeros((2, 3))}, {"y": np.zeros((1, 4))}
    with pytest.raises(BadInput, match=r"'y' in different forms, float64 \[3\] and float64 \[4\]"):
        stages.merge(one, np.array([0]), two)
    with pytest.raises(BadInput, match=r"float64 \[3\] and float32 \[3\] a row"):
        stages.merge(one, np.array([0]), {"y": np.zeros((1, 3), np.float32)})


def test_the_forecast_leaves_room_for_every_row_and_expects_the_calibrated_share() -> None:
    low, ref = (Lane(offer(variant(n, s)), []) for n, s in (("low", LOW_S), ("ref", REF_S)))
    known = cascade("low", "ref", escalation=0.25)
    each = Stages(offer(variant("cas"), stages=known), known, low, ref)
    (lone,) = forecast.cascaded([each], 1, None)
    assert lone.latency_s == pytest.approx(LOW_S + REF_S)
    assert lone.cost_usd == pytest.approx((LOW_S + 0.25 * REF_S) * USD)
    ref.push(pending(3))
    low.push(pending(1))
    (queued,) = forecast.cascaded([each], 4, [0.5, 0.25])
    assert queued.latency_s == pytest.approx(low.service_s[5] + ref.service_s[7] + 0.75)
    expected = 4 * low.usd_per_item[5] + 1 * ref.usd_per_item[4]
    assert queued.cost_usd == pytest.approx(expected) and queued.batch == 5
    (idle,) = forecast.cascaded([each], 4, None, is_idle=True)
    assert idle.latency_s == pytest.approx(low.service_s[4] + ref.service_s[4])
    (wide,) = forecast.cascaded([each], 18, None)
    one, two = low.offer.curve, ref.offer.curve
    assert wide.latency_s == pytest.approx(one.service(19) + two.service(21))
    # 4.5 rows are expected to go on, in a batch of at least 5 behind the 3 that are queued.
    expected = one.device(18) * USD + 4.5 * ref.usd_per_item[8]
    assert wide.cost_usd == pytest.approx(expected) and wide.batch == 18
    (wider,) = forecast.cascaded([each], 38, None)
    expected = one.device(38) + two.device(10) * 9.5 / 10
    assert wider.cost_usd == pytest.approx(expected * USD)


def test_a_cascade_is_chosen_like_any_other_and_explained_with_its_stages() -> None:
    found = catalog()
    made = scheduler(found)
    bounds = slo(accuracy=0.9)
    route = made.arrive(found, pending(slo=bounds), "", 0.0, 0.5)
    assert route.candidate.key.variant == "cas"
    told = explain.text(route, bounds, found.offers)
    assert '"chosen":"cas"' in told and '"first":"low","second":"ref","threshold":0.5' in told
    strict = made.arrive(found, pending(slo=slo(accuracy=0.94)), "", 0.0, 0.5)
    assert strict.candidate.key.variant == "ref"
    loose = made.arrive(found, pending(), "", 0.0, 0.5)
    assert loose.candidate.key.variant == "low"


def test_a_bound_that_only_one_stage_fits_refuses_the_cascade() -> None:
    found = catalog()
    made = scheduler(found)
    with pytest.raises(Infeasible, match=r"cas \(latency: 110\.000 ms forecast"):
        made.arrive(found, pending(slo=slo(0.09, 0.9)), "", 0.0, 0.5)


def test_only_unsure_rows_go_on_and_each_stage_is_charged_to_what_ran() -> None:
    found = catalog()
    made = scheduler(found)
    both, sure, plain = pending(4), pending(2), pending(2)
    for each, name in ((both, "cas"), (sure, "cas"), (plain, "low")):
        made.arrive(found, each, name, 0.0, 0.5)
    (batch,) = starts(made, 0.1)
    assert batch.pendings == [both, sure, plain], "they share the first stage with everyone else"
    answers = made.done(batch, 0.2, 8_000, unsure={0: 1})
    assert [(a.pending, a.facts.key.variant) for a in answers] == [(sure, "cas"), (plain, "low")]
    assert [a.facts.escalated for a in answers] == [0, None]
    assert made.admission.in_flight == 1
    (again,) = starts(made, 0.5)
    assert again.lane.key.variant == "ref" and (again.pendings, again.items) == ([both], 1)
    (answer,) = made.done(again, 0.9, 50_000)
    facts = answer.facts
    assert (facts.key.variant, facts.escalated, facts.accuracy_low) == ("cas", 1, 0.93)
    assert facts.cost_usd == pytest.approx(54_000 * 1e-9 * USD)
    assert facts.queue_s == pytest.approx(0.1 + 0.3), "what it waited before both"
    assert usage(made) == {"low": 8_000, "ref": 50_000}
    assert made.admission.in_flight == 0 and made.pool.is_idle()
    assert made.tally.cascade_rows[facts.key] == 6 and made.tally.cascade_escalated[facts.key] == 1


def test_savings_are_booked_once_with_the_answer() -> None:
    found = catalog()
    made = scheduler(found)
    whole = pending(4)
    made.arrive(found, whole, "cas", 0.0, 0.5)
    made.done(starts(made, 0.0)[0], 0.1, 4_000, unsure={0: 2})
    ledger = made.books["cpu"]
    first, second = (AccountKey("toy", "1", name, "cpu", "default") for name in ("low", "ref"))
    assert ledger.dollars(first).reference == 0.0, "it may still fail"
    made.done(starts(made, 0.1)[0], 0.2, 9_000)
    usd = ledger.dollars(second)
    assert ledger.dollars(first).reference == 0.0
    assert usd.reference == pytest.approx(found.reference.curve.device(4) * USD)
    assert usd.routed == pytest.approx(13_000e-9 * USD)


def test_a_failed_second_stage_fails_the_request_and_saves_nothing() -> None:
    found = catalog()
    made = scheduler(found)
    made.arrive(found, pending(4), "cas", 0.0, 0.5)
    made.done(starts(made, 0.0)[0], 0.1, 4_000, unsure={0: 2})
    (answer,) = made.done(starts(made, 0.1)[0], 0.2, 9_000, failed={0})
    assert answer.facts.cost_usd == pytest.approx(13_000e-9 * USD)
    assert all(
        made.books["cpu"].dollars(key).reference == 0.0 for key in made.books["cpu"].accounts()
    )
    assert made.admission.in_flight == 0


def test_without_room_for_the_second_stage_the_first_does_not_run() -> None:
    found = catalog()
    made = scheduler(found)
    late, fits = pending(1, 0.109), pending(1, 0.12)
    for each in (late, fits):
        made.arrive(found, each, "cas", 0.0, 0.5)
    shed, started = made.tick(0.0)
    assert isinstance(shed, Shed) and shed.pending is late
    assert isinstance(started, Start) and started.batch.pendings == [fits]


def test_a_batch_of_the_first_stage_keeps_room_for_the_second() -> None:
    found = catalog()
    made = scheduler(found)
    made.arrive(found, tight := pending(1, 0.112), "cas", 0.0, 0.5)
    made.arrive(found, other := pending(4), "low", 0.0, 0.5)
    first, second = starts(made, 0.0)
    assert first.pendings == [tight] and second.pendings == [other]


def test_the_queue_is_ordered_by_when_the_first_stage_must_end() -> None:
    found = catalog()
    made = scheduler(found, devices=1)
    made.arrive(found, plain := pending(1, 0.5, merge_key=None), "low", 0.0, 0.5)
    made.arrive(found, twice := pending(1, 0.55, merge_key=None), "cas", 0.0, 0.5)
    (batch,) = starts(made, 0.0)
    assert batch.pendings == [twice]
    assert plain.queue is not None


def test_between_the_stages_a_deadline_ends_it_and_nobody_gets_an_unsure_answer() -> None:
    found = catalog()
    made = scheduler(found, is_best_effort=True)
    each = pending(1, 0.2, slo=slo(0.2))
    made.arrive(found, each, "cas", 0.0, 0.5)
    (batch,) = starts(made, 0.0)
    assert made.done(batch, 0.15, 1_000, unsure={0: 1}) == []
    (shed,) = made.tick(0.15)
    assert isinstance(shed, Shed) and isinstance(shed.error, Expired)
    assert "before the second stage of its cascade" in str(shed.error)
    assert made.admission.in_flight == 0 and made.pool.is_idle()
    assert made.tally.slos == {("latency", False): 1}
    assert usage(made) == {"low": 1_000}, "its first stage is paid for"


def test_a_caller_may_leave_between_the_stages() -> None:
    found = catalog()
    made = scheduler(found)
    made.arrive(found, each := pending(2), "cas", 0.0, 0.5)
    made.done(starts(made, 0.0)[0], 0.1, 1_000, unsure={0: 2})
    made.cancel(each)
    assert made.admission.in_flight == 0 and made.pool.is_idle() and starts(made, 0.1) == []


def test_a_reload_does_not_part_a_request_from_the_second_stage_it_began_with() -> None:
    found = catalog()
    made = scheduler(found)
    made.arrive(found, pending(), "cas", 0.0, 0.5)
    (batch,) = starts(made, 0.0)
    before = made.pool.replicas()
    assert len(before) == 2, "the second stage's is kept as well"
    adopt(made, entry(offer(variant("new", REF_S))))
    assert made.pool.replicas() == before
    assert made.done(batch, 0.1, 1_000, unsure={0: 1}) == []
    (again,) = starts(made, 0.1)
    assert again.replica.key.variant == "ref"
    (answer,) = made.done(again, 0.3, 1_000)
    assert answer.facts.key.variant == "cas" and made.pool.replicas() == set()


def test_report_only_meters_the_cascade_it_would_have_routed_to_by_its_profile() -> None:
    found = catalog()
    made = scheduler(found, report_only=True, is_best_effort=True)
    route = made.arrive(found, pending(4, slo=slo(accuracy=0.9)), "", 0.0, 0.5)
    assert route.candidate.key.variant == "cas"
    (batch,) = starts(made, 0.0)
    assert batch.lane.key.variant == "ref"
    (answer,) = made.done(batch, 0.3, 1_000)
    assert answer.facts.key.variant == "ref" and answer.facts.escalated is None
    (account,) = made.books["cpu"].accounts()
    routed = found.offer("cas").curve.device(4) * USD
    assert made.books["cpu"].dollars(account).routed == pytest.approx(routed)


def test_report_only_meters_a_pinned_cascade_once_by_the_profile_of_both_stages() -> None:
    found = catalog()
    made = scheduler(found, report_only=True)
    made.arrive(found, pending(4), "cas", 0.0, 0.5)
    made.done(starts(made, 0.0)[0], 0.1, 40_000_000, unsure={0: 2})
    made.done(starts(made, 0.1)[0], 0.2, 90_000_000)
    dollars = [made.books["cpu"].dollars(key) for key in made.books["cpu"].accounts()]
    routed = found.offer("cas").curve.device(4) * USD
    assert sum(usd.routed for usd in dollars) == pytest.approx(routed)
    assert sum(usd.usage for usd in dollars) == pytest.approx(0.13 * USD)
