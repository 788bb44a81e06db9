"""The threshold of a cascade is the smallest that bounds the risk, and the bound holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from compilers.cascades.conformal import fewest_rows, threshold
from model_repo.errors import BadInput
from model_repo.tensors import Array

ROWS = st.integers(20, 120)
RISKS = st.sampled_from([0.05, 0.1, 0.25, 0.5])


def bound(margins: Array, is_costly: Array, t: float) -> float:
    """n / (n + 1) R(t) + 1 / (n + 1), as the theorem has it."""
    loss = is_costly & ~(margins < t)
    return (int(loss.sum()) + 1) / (len(margins) + 1)


@st.composite
def calibrations(draw: st.DrawFn) -> tuple[Array, Array, float]:
    """Margins of few values, so that many are equal; -1 for scores that are not finite."""
    count = draw(ROWS)
    values = st.sampled_from([-1.0, 0.0, 0.1, 0.7, 1.0, 2.5, 1e30])
    datatype = draw(st.sampled_from([np.float32, np.float64]))
    margins = draw(arrays(datatype, count, elements=values.map(lambda v: datatype(v))))
    return margins, draw(arrays(bool, count)), draw(RISKS)


@given(calibrations())
def test_it_bounds_the_risk_and_none_smaller_does(given: tuple[Array, Array, float]) -> None:
    margins, is_costly, risk = given
    t = threshold(margins, is_costly, risk)
    assert bound(margins, is_costly, t) <= risk + 1e-12
    assert t >= 0
    if t > 0:
        below = float(np.nextafter(margins.dtype.type(t), margins.dtype.type(0)))
        assert bound(margins, is_costly, below) > risk


@given(calibrations())
def test_equal_margins_go_the_same_way_in_the_datatype_served(
    given: tuple[Array, Array, float],
) -> None:
    margins, is_costly, risk = given
    t = threshold(margins, is_costly, risk)
    assert float(margins.dtype.type(t)) == t, "the comparison when serving rounds nothing"


@given(st.integers(1, 400), st.sampled_from([0.5, 0.1, 0.05, 0.01, 0.005]))
def test_too_few_rows_are_refused_and_enough_never(rows: int, risk: float) -> None:
    margins, is_costly = np.ones(rows, np.float32), np.zeros(rows, bool)
    if rows >= fewest_rows(risk):
        assert threshold(margins, is_costly, risk) == 0.0
    else:
        with pytest.raises(BadInput, match=rf"give {fewest_rows(risk)} or more rows") as caught:
            threshold(margins, is_costly, risk)
        assert "\n" not in str(caught.value)


def test_the_fewest_rows_are_those_of_the_theorem() -> None:
    assert [fewest_rows(risk) for risk in (0.5, 0.1, 0.01, 0.005)] == [1, 9, 99, 199]


def test_an_infinite_margin_that_is_wrong_leaves_no_threshold() -> None:
    with pytest.raises(BadInput, match="no threshold bounds the risk"):
        threshold(np.full(30, np.inf, np.float32), np.ones(30, bool), 0.1)


@settings(max_examples=12)
@given(st.integers(0, 2**32 - 1), ROWS, RISKS, st.floats(0.2, 4.0))
def test_over_many_draws_the_risk_is_what_was_asked_for(
    seed: int, rows: int, risk: float, decay: float
) -> None:
    """The expectation over calibrations and a new row: 1,500 draws of a stage that errs most where
    it is unsure, its true risk known in closed form; six standard errors are left for chance."""
    rng = np.random.default_rng(seed)
    risks = []
    for _ in range(1500):
        margins = rng.exponential(1.0, rows)
        is_costly = rng.random(rows) < 0.6 * np.exp(-decay * margins)
        t = threshold(margins, is_costly, risk) if rows >= fewest_rows(risk) else np.inf
        # The integral of 0.6 exp(-decay m) exp(-m) from t on.
        risks.append(0.6 / (1 + decay) * np.exp(-(1 + decay) * t))
    assert np.mean(risks) <= risk + 6 * np.std(risks) / np.sqrt(len(risks))
