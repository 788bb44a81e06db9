"""Which running copy takes the next batch."""

from __future__ import annotations

import pytest
from builders import variant
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.replica import Replica, State, pick

KEY = variant("ref").key
STATES: list[State] = ["starting", "ready", "draining", "broken"]


@given(st.lists(st.tuples(st.sampled_from(STATES), st.integers(0, 3), st.integers(1, 3))))
def test_the_least_loaded_that_is_ready_and_has_a_slot(rows: list[tuple[State, int, int]]) -> None:
    replicas = [Replica(str(i), KEY, "", *row) for i, row in enumerate(rows)]
    able = [r for r in replicas if r.state == "ready" and r.in_flight < r.slots]
    chosen = pick(replicas)
    assert (chosen is None) == (not able)
    if chosen:
        assert chosen in able and chosen.in_flight == min(r.in_flight for r in able)


@pytest.mark.parametrize("state", STATES)
def test_only_a_ready_replica_has_room(state: State) -> None:
    assert Replica("a", KEY, "", state).has_room() == (state == "ready")
