"""A route in JSON: every candidate's forecast, and why those refused were refused."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from gateway.core.refusal import refusals
from gateway.core.routing import Route
from model_repo.records import SLO, Candidate, Cascade


def text(route: Route, slo: SLO) -> str:
    """What the answer's parameter `explain` holds; a cascade is shown with its stages."""
    slack = None if route.slack_s == math.inf else route.slack_s * 1e3
    stages = {each.key: _stages(each.cascade) for each in route.cascades}
    document = {
        "policy": route.policy,
        "chosen": route.candidate.key.variant,
        "met": route.met,
        "slack_ms": slack,
        "candidates": [_forecast(each) | stages.get(each.key, {}) for each in route.candidates],
        "refused": dict(refusals(route.candidates, slo, route.slack_s)),
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


def _stages(cascade: Cascade) -> dict[str, Any]:
    return {
        "first": cascade.first,
        "second": cascade.second,
        "threshold": cascade.threshold,
        "expected_escalation": cascade.escalation,
    }
