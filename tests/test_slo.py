"""What a call may ask of routing, and every absurd thing it may not."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.oip import slo
from model_repo.errors import BadInput, Unsupported
from model_repo.records import NO_SLO, SLO

VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=4,
)
NAMES = st.sampled_from([
    "slo_latency_ms", "slo_min_accuracy", "slo_max_cost_usd", "variant", "explain", "timeout",
    "priority", "triton_x", "other",
])  # fmt: skip
HEADERS = st.sampled_from(
    ["x-slo-latency-ms", "x-slo-min-accuracy", "x-slo-max-cost-usd", "x-variant"]
)


def test_nothing_asked_is_nothing_bound() -> None:
    assert slo.read({}, {"user-agent": "x"}) == slo.NO_WISHES
    assert slo.NO_WISHES.slo is NO_SLO and slo.NO_WISHES.timeout_s == math.inf


def test_parameters_and_headers_say_the_same() -> None:
    wanted = SLO(0.02, 0.9, 0.001)
    as_parameters = {"slo_latency_ms": 20, "slo_min_accuracy": 0.9, "slo_max_cost_usd": "0.001"}
    as_headers = {
        "x-slo-latency-ms": "20", "x-slo-min-accuracy": "0.9", "x-slo-max-cost-usd": "1e-3",
    }  # fmt: skip
    assert slo.read(as_parameters, {}).slo == slo.read({}, as_headers).slo == wanted


@given(st.floats(0.001, 1e6), st.floats(0.001, 1e6), st.floats(0, 1), st.floats(0, 1))
def test_the_tightest_wins(one_ms: float, other_ms: float, low: float, high: float) -> None:
    found = slo.read(
        {"slo_latency_ms": one_ms, "slo_max_cost_usd": one_ms, "slo_min_accuracy": low},
        {
            "x-slo-latency-ms": repr(other_ms),
            "x-slo-max-cost-usd": repr(other_ms),
            "x-slo-min-accuracy": repr(high),
        },
    ).slo
    tightest = min(one_ms, other_ms)
    assert found == SLO(tightest / 1e3, max(low, high), tightest)


@pytest.mark.parametrize("name", ["slo_latency_ms", "slo_max_cost_usd"])
@pytest.mark.parametrize(
    "value",
    [0, -1, -0.5, math.nan, math.inf, "", "soon", "nan", "inf", True, None, [], {}, 10**400],
)
def test_an_absurd_bound_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(BadInput, match=f"^{name} is .*greater than 0"):
        slo.read({name: value}, {})


@pytest.mark.parametrize("value", [-0.1, 1.01, 97, math.nan, math.inf, "high", False, None, []])
def test_an_accuracy_is_from_0_to_1(value: object) -> None:
    with pytest.raises(BadInput, match=r"^slo_min_accuracy is .*from 0 to 1"):
        slo.read({"slo_min_accuracy": value}, {})


@pytest.mark.parametrize(
    ("header", "value"), [("x-slo-latency-ms", "-5"), ("x-slo-latency-ms", "")]
)
def test_a_header_is_refused_by_its_own_name(header: str, value: str) -> None:
    with pytest.raises(BadInput, match=f"^{header} is {value!r}"):
        slo.read({}, {header: value})


@pytest.mark.parametrize(
    ("value", "seconds"), [(0, math.inf), (1, 1e-6), (2_000_000, 2.0), (2**63 - 1, 2**63 * 1e-6)]
)
def test_a_timeout_is_in_microseconds_and_0_is_none(value: int, seconds: float) -> None:
    assert slo.read({"timeout": value}, {}).timeout_s == pytest.approx(seconds)


@pytest.mark.parametrize("value", [-1, 1.5, "5", True, math.nan, 10**400, 2**63, None, []])
def test_an_absurd_timeout_is_refused(value: object) -> None:
    with pytest.raises(BadInput, match=r"^timeout is "):
        slo.read({"timeout": value}, {})


def test_a_pin_and_explain() -> None:
    found = slo.read({"variant": "a", "explain": True}, {"x-variant": "b"})
    assert (found.variant, found.explain) == ("a", True)
    assert slo.read({}, {"x-variant": "b"}).variant == "b"
    for wrong in ({"variant": 1}, {"explain": "yes"}, {"explain": 1}):
        with pytest.raises(BadInput, match=f"the parameter {next(iter(wrong))} is"):
            slo.read(wrong, {})


def test_reserved_names_are_refused_but_for_the_one_clients_send() -> None:
    with pytest.raises(BadInput, match="'triton_final_response' is reserved"):
        slo.read({"triton_final_response": True}, {})
    assert slo.read({"triton_enable_empty_final_response": True}, {}).slo == NO_SLO
    empty = {"sequence_id": 0, "sequence_start": False, "sequence_end": False, "priority": 0}
    assert slo.read(empty, {}).timeout_s == math.inf


def test_a_sequence_is_refused_rather_than_torn_apart() -> None:
    with pytest.raises(Unsupported, match="sequence_id is 1"):
        slo.read({"sequence_id": 1, "sequence_start": True}, {})


@given(st.dictionaries(NAMES, VALUES), st.dictionaries(HEADERS, st.text(max_size=8)))
def test_whatever_is_sent_is_read_or_refused(
    parameters: dict[str, object], headers: dict[str, str]
) -> None:
    try:
        found = slo.read(parameters, headers)
    except BadInput:
        return
    bounds = (found.slo.latency_s, found.slo.max_cost_usd)
    assert all(bound is None or 0 < bound < math.inf for bound in bounds)
    assert 0 <= (found.slo.min_accuracy or 0) <= 1 and found.timeout_s > 0


def test_a_misspelt_bound_is_refused_with_those_there_are() -> None:
    with pytest.raises(BadInput, match=r"'slo_latency' is unknown: use one of .*slo_latency_ms"):
        slo.read({"slo_latency": 5}, {})
