"""Why a variant does not fit a request, in words that name the bound."""

from __future__ import annotations

from collections.abc import Sequence

from model_repo.records import SLO, Candidate

Refusal = tuple[str, str]


def refusals(candidates: Sequence[Candidate], slo: SLO, slack_s: float) -> list[Refusal]:
    """(variant, reason) for each candidate that breaks a bound; each part begins with its name."""
    found = []
    for candidate in candidates:
        broken = _broken(candidate, slo, slack_s)
        if broken:
            found.append((candidate.key.variant, "; ".join(broken)))
    return found


def sentence(reasons: Sequence[Refusal]) -> str:
    """All refusals in one line."""
    return " | ".join(f"{variant} ({reason})" for variant, reason in reasons)


def _broken(candidate: Candidate, slo: SLO, slack_s: float) -> list[str]:
    reasons = []
    if slo.min_accuracy is not None and candidate.accuracy_low < slo.min_accuracy:
        reasons.append(
            f"accuracy: {candidate.accuracy_low:.4f} at its low end is under {slo.min_accuracy:g}"
        )
    if candidate.latency_s > slack_s:
        reasons.append(
            f"latency: {candidate.latency_s * 1e3:.3f} ms forecast, "
            f"{max(slack_s, 0.0) * 1e3:.3f} ms left"
        )
    if slo.max_cost_usd is not None and candidate.cost_usd > slo.max_cost_usd:
        reasons.append(
            f"cost: {candidate.cost_usd:.3g} usd forecast is over {slo.max_cost_usd:g} usd"
        )
    return reasons
