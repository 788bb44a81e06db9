"""Splits cover the data, never overlap, and never part equal rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compilers.datasets import Data, Splits, split
from model_repo.errors import BadInput

SIZES = {"validation": 4, "calibration": 3, "held_out": 6}


def numbered(values: list[int]) -> Data:
    """Rows told apart by their label, with inputs that may be equal."""
    inputs = np.array(values, dtype=np.float32)[:, None]
    return Data({"x": inputs}, np.arange(len(values)))


def parts(splits: Splits) -> list[Data]:
    return [splits.train, splits.validation, splits.calibration, splits.held_out]


@given(st.lists(st.integers(0, 30), min_size=14, max_size=80), st.integers(0, 2**32 - 1))
def test_no_row_or_its_equal_stands_on_two_sides(values: list[int], seed: int) -> None:
    try:
        splits = split(numbered(values), SIZES, seed)
    except BadInput as error:
        assert "leave none to train on" in str(error)
        return
    labels = [set(part.labels.tolist()) for part in parts(splits) if part.labels is not None]
    assert sorted(set.union(*labels)) == list(range(len(values)))
    assert sum(map(len, labels)) == len(values)
    seen = [set(part.inputs["x"].ravel().tolist()) for part in parts(splits)]
    assert sum(map(len, seen)) == len(set(values))
    assert len(splits.validation) >= 4
    assert len(splits.calibration) >= 3
    assert len(splits.held_out) >= 6


def test_distinct_rows_give_the_exact_sizes() -> None:
    splits = split(numbered(list(range(50))), SIZES, 0)
    assert [len(part) for part in parts(splits)] == [37, 4, 3, 6]


def test_the_seed_decides() -> None:
    data = numbered(list(range(50)))
    first, again, other = (split(data, SIZES, seed).held_out.labels for seed in (1, 1, 2))
    assert first is not None and again is not None and other is not None
    assert first.tolist() == again.tolist() != other.tolist()


@pytest.mark.parametrize("values", [list(range(13)), [1] * 30])
def test_refuses_to_leave_nothing_to_train_on(values: list[int]) -> None:
    with pytest.raises(BadInput, match=f"ask for 13 of {len(values)} samples.*make them smaller"):
        split(numbered(values), SIZES, 0)


def test_rows_of_single_strings_are_told_apart() -> None:
    words = np.array([b"%d" % (i % 20) for i in range(30)], dtype=object)
    splits = split(Data({"word": words}), {"validation": 2, "calibration": 2, "held_out": 2}, 0)
    seen = [set(part.inputs["word"].tolist()) for part in parts(splits)]
    assert sum(map(len, seen)) == len(set(words.tolist()))
