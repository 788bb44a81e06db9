"""A route in JSON: every candidate's forecast, and why those refused were refused."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.core.catalog import Offer
from gateway.core.refusal import refusals
from gateway.core.routing import Route
from model_repo.records import SLO, Candidate, Cascade

UNMEASURED = "source: its profile is {}, and allow_estimated is not set"


def text(route: Route, slo: SLO, offers: Iterable[Offer]) -> str:
    """What the answer's parameter `explain` holds; a cascade is shown with its stages.

    offers: those of the model version, of which some may not be routed to.
    """
    known = {offer.key: offer for offer in offers}
    barred = {
        offer.key.variant: UNMEASURED.format(offer.variant.profile.source)
        for offer in known.values()
        if not offer.is_routable and offer.key != route.candidate.key
    }
    slack = None if route.slack_s == math.inf else route.slack_s * 1e3
    stages = {each.key: _stages(each.cascade) for each in route.cascades}
    document = {
        "policy": route.policy,
        "chosen": route.candidate.key.variant,
        "met": route.met,
        "slack_ms": slack,
        "candidates": [
            _forecast(each) | _source(known[each.key]) | stages.get(each.key, {})
            for each in route.candidates
        ],
        "refused": barred | dict(refusals(route.candidates, slo, route.slack_s)),
    }
    return msgspec.json.encode(document).decode()


def _forecast(candidate: Candidate) -> dict[str, Any]:
    return {
        "variant": candidate.key.variant,
        "accuracy_low": candidate.accuracy_low,
        "forecast_latency_ms": candidate.latency_s * 1e3,
        "cost_usd": candidate.cost_usd,
        "queued": candidate.load,
        "batch": candidate.batch,
    }


def _source(offer: Offer) -> dict[str, Any]:
    """Where its figures come from, and what runs it here if that is not its own hardware."""
    source = {"source": offer.variant.profile.source}
    return source | ({"runs_on": offer.device} if offer.stands_in else {})


def _stages(cascade: Cascade) -> dict[str, Any]:
    return {
        "first": cascade.first,
        "second": cascade.second,
        "threshold": cascade.threshold,
        "expected_escalation": cascade.escalation,
    }
