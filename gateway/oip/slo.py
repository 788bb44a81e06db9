"""What a call asks of routing: SLO, pin, explain and timeout, from parameters and headers.

Both may be given; the tightest bound wins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from msgspec import Struct

from model_repo.errors import BadInput, Unsupported
from model_repo.records import NO_SLO, SLO

_BOUNDS = (
    ("slo_latency_ms", "x-slo-latency-ms"),
    ("slo_min_accuracy", "x-slo-min-accuracy"),
    ("slo_max_cost_usd", "x-slo-max-cost-usd"),
)
_NAMES = {name for name, _ in _BOUNDS}
_OURS = "slo_"
_ABSENT = object()
_SEQUENCE = "sequence_"
_PIN_HEADER = "x-variant"
_HEADERS = {_PIN_HEADER, *(header for _, header in _BOUNDS)}
_MICROSECONDS = 1e-6
_LONGEST_US = 2**63 - 1
_RESERVED = "triton_"
_LET_IN = "triton_enable_empty_final_response"


class Wishes(Struct, frozen=True):
    """timeout_s: the caller's own limit, infinite if none; variant: "" if none is pinned."""

    slo: SLO = NO_SLO
    variant: str = ""
    explain: bool = False
    timeout_s: float = math.inf


NO_WISHES = Wishes()


def read(parameters: Mapping[str, object], headers: Mapping[str, str]) -> Wishes:
    """Read the parameters and headers; raises BadInput naming the one that makes no sense."""
    if not parameters and _HEADERS.isdisjoint(headers):
        return NO_WISHES
    bounds = [_tightest(name, header, parameters, headers) for name, header in _BOUNDS]
    pinned = headers.get(_PIN_HEADER, "")
    for name, value in parameters.items():
        _check_name(name)
        if name.startswith(_SEQUENCE) and value:
            raise Unsupported(f"{name} is {value!r}: sequences of requests are not offered yet")
    latency_ms, min_accuracy, max_cost_usd = bounds
    variant = parameters.get("variant", pinned)
    if not isinstance(variant, str):
        raise BadInput(f"the parameter variant is {variant!r}: give the name of a variant")
    explain = parameters.get("explain", False)
    if not isinstance(explain, bool):
        raise BadInput(f"the parameter explain is {explain!r}: give true or false")
    latency_s = None if latency_ms is None else latency_ms / 1e3
    return Wishes(
        SLO(latency_s, min_accuracy, max_cost_usd),
        variant,
        explain,
        _timeout(parameters.get("timeout", 0)),
    )


def _check_name(name: str) -> None:
    if name.startswith(_RESERVED) and name != _LET_IN:
        raise BadInput(f"the parameter {name!r} is reserved: names may not begin with triton_")
    # A misspelt bound would be an answer that claims to have met it.
    if name.startswith(_OURS) and name not in _NAMES:
        raise BadInput(f"the parameter {name!r} is unknown: use one of {', '.join(sorted(_NAMES))}")


def _tightest(
    name: str, header: str, parameters: Mapping[str, object], headers: Mapping[str, str]
) -> float | None:
    given = [
        _number(where, value, name)
        for where, value in (
            (name, parameters.get(name, _ABSENT)),
            (header, headers.get(header, _ABSENT)),
        )
        if value is not _ABSENT
    ]
    if not given:
        return None
    return max(given) if name == "slo_min_accuracy" else min(given)


def _number(where: str, value: object, bound: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]  # whatever has no float raises
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if bound == "slo_min_accuracy":
        if not 0.0 <= number <= 1.0:
            raise BadInput(f"{where} is {value!r}: give a number from 0 to 1")
    elif not (0.0 < number < math.inf):
        raise BadInput(f"{where} is {value!r}: give a finite number greater than 0")
    return number


def _timeout(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LONGEST_US:
        raise BadInput(f"timeout is {value!r}: give whole microseconds, 0 for none")
    return value * _MICROSECONDS if value else math.inf
