"""Requests joined into a batch come apart again as they went in."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.stacking import cut, join, part
from model_repo.tensors import Array

ROWS = st.lists(st.integers(1, 5), min_size=1, max_size=6)


def feeds(rows: list[int]) -> list[dict[str, Array]]:
    rng = np.random.default_rng(sum(rows))
    made: list[dict[str, Array]] = []
    for count in rows:
        words = np.array([[f"{i}".encode()] for i in range(count)], dtype=object)
        made.append({"x": rng.random((count, 3), np.float32), "s": words.reshape(count, 1)})
    return made


@given(ROWS)
def test_what_is_joined_is_parted_the_same(rows: list[int]) -> None:
    given_feeds = feeds(rows)
    parts = part(dict(join(given_feeds)), rows)
    assert len(parts) == len(rows)
    for before, after in zip(given_feeds, parts, strict=True):
        assert before.keys() == after.keys()
        for name, array in before.items():
            assert after[name].dtype == array.dtype and (after[name] == array).all()
            assert after[name].shape == array.shape


def test_a_lone_request_is_not_copied() -> None:
    (feed,) = feeds([2])
    assert join([feed]) is feed


@given(st.integers(1, 30), st.integers(1, 8))
def test_a_large_request_is_cut_into_full_batches_and_a_rest(rows: int, largest: int) -> None:
    (feed,) = feeds([rows])
    pieces = cut(feed, rows, largest)
    counts = [len(piece["x"]) for piece in pieces]
    assert sum(counts) == rows and max(counts) <= largest
    assert all(count == largest for count in counts[:-1])
    assert (np.concatenate([piece["x"] for piece in pieces]) == feed["x"]).all()
