"""Classes of an output: the largest first, as Triton writes them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gateway.core.classification import classify
from model_repo.errors import BadInput
from model_repo.tensors import DTYPES

LABELS = ("cat", "dog", "owl")


def test_values_places_and_labels() -> None:
    scores = np.array([[0.25, 0.5, 0.125, 2]], np.float32)
    found = classify(scores, 2, LABELS, True, "y")
    assert found.tolist() == [[b"2.000000:3", b"0.500000:1:dog"]]
    assert classify(scores[0], 9, LABELS, False, "y").shape == (4,)


def test_whole_numbers_stay_whole_and_ties_keep_their_order() -> None:
    found = classify(np.array([[7, 9, 9, -(2**63)]]), 4, (), True, "y")
    assert found.tolist() == [[b"9:1", b"9:2", b"7:0", b"-9223372036854775808:3"]]
    large = np.array([[2**64 - 1, 2**64 - 2]], np.uint64)
    assert classify(large, 1, (), True, "y").tolist() == [[b"18446744073709551615:0"]]


def test_rows_are_taken_flat_and_nan_comes_last() -> None:
    scores = np.array([[[np.nan, 1.0], [3.0, -np.inf]]])
    found = classify(scores, 3, (), True, "y")
    assert found.tolist() == [[b"3.000000:2", b"1.000000:1", b"nan:0"]]
    assert classify(np.zeros((0, 3), np.float32), 2, (), True, "y").shape == (0, 2)


@given(
    hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=3), elements=st.floats()),
    st.integers(1, 5),
)
def test_they_fall_from_the_largest(scores: np.ndarray, count: int) -> None:
    found = classify(scores, count, (), True, "y")
    flat = scores.reshape(len(scores), -1)
    for row, told in zip(flat, found, strict=True):
        places = [int(each.split(b":")[1]) for each in told]
        picked = [-np.inf if np.isnan(row[at]) else row[at] for at in places]
        assert picked == sorted(picked, reverse=True) and len(set(places)) == len(places)
        assert len(places) == min(count, len(row))


@pytest.mark.parametrize("datatype", [name for name in DTYPES if name != "BYTES"])
def test_every_datatype_of_numbers_has_classes(datatype: str) -> None:
    found = classify(np.ones((1, 2)).astype(DTYPES[datatype]), 1, LABELS, True, "y")
    assert found[0, 0].endswith(b":0:cat")


def test_strings_have_none() -> None:
    with pytest.raises(BadInput, match="'y' holds strings"):
        classify(np.array([["a"]], dtype=object), 1, (), True, "y")
