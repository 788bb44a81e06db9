"""Rows sway each other where their company matters, not where other kernels round otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from compilers.foreign import proof
from compilers.foreign.signature import Port
from model_repo.errors import BadInput

OUTPUTS = (Port("y", "FP32", ("n",)),)


def pairs(turns: int = 4) -> list[tuple[proof.Call, proof.Call]]:
    rng = np.random.default_rng(0)

    def call(rows: int) -> proof.Call:
        return {"x": rng.standard_normal(rows).astype(np.float32)}

    return [(call(1), call(1 + turn % 2)) for turn in range(turns)]


def alone(x: np.ndarray) -> np.ndarray:
    return x * 2


def otherwise_alone(x: np.ndarray) -> np.ndarray:
    """A row by itself is rounded in another way, as by a kernel of its own."""
    return x * 2 + (0.01 if len(x) == 1 else 0)


def shared(x: np.ndarray) -> np.ndarray:
    return x - 0.01 * x.mean()


def scaled(x: np.ndarray) -> np.ndarray:
    return x / len(x)


def summed(x: np.ndarray) -> np.ndarray:
    return x.sum(keepdims=True)


@pytest.mark.parametrize("model", [alone, otherwise_alone])
def test_rows_that_company_does_not_matter_to_are_joined(model: object) -> None:
    assert proof.difference(run_of(model), pairs(), OUTPUTS) is None


@pytest.mark.parametrize("model", [shared, scaled, summed])
def test_rows_that_it_matters_to_are_not(model: object) -> None:
    assert proof.difference(run_of(model), pairs(), OUTPUTS) == proof.APART


def test_a_model_that_fails_in_company_says_so() -> None:
    def run(call: proof.Call) -> proof.Call:
        if len(call["x"]) > 1:
            raise BadInput("one at a time")
        return {"y": call["x"]}

    assert "a call of 2 rows fails (one at a time)" in str(proof.difference(run, pairs(1), OUTPUTS))


def run_of(model: object) -> proof.Run:
    return lambda call: {"y": model(call["x"]).astype(np.float32)}  # type: ignore[operator]  # one of those above
