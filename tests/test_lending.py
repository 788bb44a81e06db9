"""What is lent is in one pair of hands at a time, and whoever waits gets it in the end."""

from __future__ import annotations

import threading

import pytest

from model_repo.errors import Expired
from model_repo.lending import Lending


def test_the_last_given_back_is_the_first_lent() -> None:
    lending = Lending("ab")
    first, second = lending.take(), lending.take()
    assert {first, second} == {"a", "b"}
    lending.give(first)
    lending.give(second)
    assert (lending.take(), lending.take()) == (second, first)


def test_nothing_to_lend_is_waited_for_only_so_long() -> None:
    with pytest.raises(Expired, match=r"all 0\.01 s went by in waiting"):
        Lending("").take(0.01)


def test_many_threads_share_few_things() -> None:
    lending, busy, faults = Lending([0, 1, 2]), [False] * 3, []

    def use() -> None:
        for _ in range(500):
            thing = lending.take(30)
            if busy[thing]:
                faults.append(thing)
            busy[thing] = True
            busy[thing] = False
            lending.give(thing)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert sorted(lending.take(0) for _ in range(3)) == [0, 1, 2]
