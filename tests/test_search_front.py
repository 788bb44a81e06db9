"""Fronts, crowding and halving are what the papers say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compilers.search.budget import parse_budget, spell
from compilers.search.front import best_first, crowding, dominates, ranks, thin
from compilers.search.halving import KEPT, TOP, Rungs
from model_repo.errors import BadInput

POINTS = st.lists(st.tuples(*[st.integers(0, 6).map(float)] * 3), max_size=30)


@given(POINTS)
def test_a_rank_is_dominated_by_the_one_before_it_and_by_none_of_its_own(points: list) -> None:
    ranked = ranks(points)
    for place, own in enumerate(ranked):
        rivals = [ranked[j] for j in range(len(points)) if dominates(points[j], points[place])]
        assert own == max(rivals, default=-1) + 1


@given(POINTS)
def test_the_best_come_first_and_nobody_is_lost(points: list) -> None:
    order, ranked = best_first(points), ranks(points)
    assert sorted(order) == list(range(len(points)))
    assert [ranked[i] for i in order] == sorted(ranked)


@given(POINTS, st.integers(0, 8))
def test_thinning_keeps_the_ends(points: list, most: int) -> None:
    kept = thin(points, most)
    assert len(kept) == min(most, len(points)) and kept == sorted(set(kept))
    if len(set(points)) == len(points) and most >= 6 and points:
        for figure in range(3):
            assert min(points)[figure] >= min(p[figure] for p in points)
            assert min(points[i][figure] for i in kept) == min(p[figure] for p in points)


def test_crowding_is_the_gap_between_neighbours() -> None:
    spread = crowding([(0.0, 4.0), (1.0, 2.0), (4.0, 0.0)])
    assert spread == [float("inf"), pytest.approx(2.0), float("inf")]
    assert crowding([]) == []


def test_one_in_three_goes_on_and_the_higher_rung_goes_first() -> None:
    rungs = Rungs()
    for turn in range(KEPT * KEPT):
        rungs.settle(str(turn), 0, (float(turn), 0.0))
        assert bool(rungs.promotable()) == (turn % KEPT == 0)
        while found := rungs.promotable():
            rungs.settle(*found, (float(found[0]), 0.0))
    assert sorted(rungs.points[1]) == ["0", "1", "2"] and list(rungs.top()) == ["0"]


def test_one_that_failed_is_not_tried_there_again() -> None:
    rungs = Rungs()
    for turn in range(KEPT):
        rungs.settle(str(turn), 0, (float(turn), 0.0))
    assert rungs.promotable() == ("0", 1)
    rungs.settle("0", 1, None)
    assert rungs.promotable() is None
    assert rungs.points[TOP] == {}


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1h", 3600), ("1.5m", 90)]
)
def test_budgets_are_read(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "-5m", "0s", "ten minutes", "1d", "nan s"])
def test_bad_budgets_are_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(BadInput, match="write how long the search may take, as 90s, 10m or 1h"):
        parse_budget(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0s"), (45.2, "45s"), (125, "2m05s"), (4200, "1h10m")]
)
def test_times_are_spelt(seconds: float, text: str) -> None:
    assert spell(seconds) == text
