"""Blocks that take too long are called back, the others are left alone."""

from __future__ import annotations

import threading
import time

from model_repo.watchdog import Watchdog


def test_only_what_takes_too_long_is_called_back() -> None:
    dog, late = Watchdog(), list[str]()
    with dog.limit(30.0, lambda: late.append("long")):
        with dog.limit(0.05, lambda: late.append("short")):
            time.sleep(0.15)
        assert late == ["short"]
        with dog.limit(0.5, lambda: late.append("in time")):
            pass
    time.sleep(0.02)
    assert late == ["short"]


def test_a_call_back_comes_once_and_soon() -> None:
    dog, calls = Watchdog(), list[float]()
    start = time.monotonic()
    with dog.limit(0.05, lambda: calls.append(time.monotonic() - start)):
        time.sleep(0.2)
    assert len(calls) == 1 and 0.05 <= calls[0] < 0.2


def test_one_thread_watches_any_number_of_blocks() -> None:
    dog, late, before = Watchdog(), list[int](), threading.active_count()

    def work(number: int) -> None:
        with dog.limit(0.05 if number % 2 else 10.0, lambda: late.append(number)):
            time.sleep(0.15)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    assert threading.active_count() <= before + len(threads) + 1
    for thread in threads:
        thread.join()
    assert sorted(late) == list(range(1, 20, 2))
