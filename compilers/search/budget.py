"""How long a search may take, as a user writes it."""

from __future__ import annotations

import re

from model_repo.errors import BadInput

UNITS_S = {"s": 1, "m": 60, "h": 3600}
_BUDGET = re.compile(r"(\d+(?:\.\d+)?)([smh])")


def parse_budget(text: str) -> float:
    """Seconds; raises BadInput."""
    found = _BUDGET.fullmatch(text.strip())
    seconds = float(found[1]) * UNITS_S[found[2]] if found else 0.0
    if not seconds:
        raise BadInput(
            f"--budget is {text!r}: write how long the search may take, as 90s, 10m or 1h"
        )
    return seconds


def spell(seconds: float) -> str:
    """Seconds as people write them: 45s, 2m05s, 1h10m."""
    whole = max(0, round(seconds))
    if whole < UNITS_S["m"]:
        return f"{whole}s"
    if whole < UNITS_S["h"]:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
