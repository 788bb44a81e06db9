"""How sure a model is, told from its scores."""

from __future__ import annotations

import numpy as np
import pytest

from model_repo.confidence import margins
from model_repo.errors import BadInput


def test_it_is_the_gap_between_the_two_best_scores() -> None:
    scores = np.array([[3.0, -1.0, 2.5], [0.0, 0.0, -9.0]], np.float32)
    assert margins(scores).tolist() == [0.5, 0.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_under_every_threshold(bad: float) -> None:
    assert margins(np.array([[bad, 1.0], [5.0, 1.0]], np.float32)).tolist() == [-1.0, 4.0]


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 2, 2)])
def test_other_outputs_do_not_say(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInput, match=r"a cascade needs scores \[n, k\]"):
        margins(np.zeros(shape, np.float32))
    with pytest.raises(BadInput, match="floating point"):
        margins(np.zeros((4, 3), np.int64))
