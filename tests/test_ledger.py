"""Attributed + idle = provisioned, to the nanosecond, whatever happens."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core.ledger import IDLE, IDLE_TENANT, AccountKey, Dollars, Ledger, Times, split

OPENED_NS = 5_000
KEYS = [AccountKey("m", "1", "a", "cpu", t) for t in ("t1", "t2")] + [
    AccountKey("n", "1", "b", "cpu", "t1")
]


@given(st.integers(0, 10**18), st.lists(st.integers(1, 1000), min_size=1))
def test_a_split_loses_nothing_and_is_fair(total: int, items: list[int]) -> None:
    parts = split(total, items)
    assert sum(parts) == total
    for part, count in zip(parts, items, strict=True):
        assert abs(part - total * count / sum(items)) < 1 + total * 1e-12


def test_equal_shares_differ_by_a_nanosecond_at_most() -> None:
    assert split(10, [1, 1, 1]) == [3, 3, 4]
    assert split(0, [1, 2]) == [0, 0]


class Books(RuleBasedStateMachine):
    """Batches start, end and are charged; minutes are closed; prices change."""

    def __init__(self) -> None:
        super().__init__()
        self.now = OPENED_NS
        self.ledger = Ledger(3, OPENED_NS, 1.0)
        self.held: list[int] = []
        self.number = 0
        self.idle = 0
        self.seen: dict[AccountKey, Dollars] = {}

    @rule(passed=st.integers(0, 10**12))
    def wait(self, passed: int) -> None:
        self.now += passed

    @precondition(lambda self: len(self.held) < 3)
    @rule()
    def start(self) -> None:
        self.number += 1
        self.held.append(self.number)
        self.ledger.hold(self.number, self.now)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), used=st.integers(0, 2 * 10**12))
    def end(self, data: Any, used: int) -> None:
        batch = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        charged = self.ledger.release(batch, self.now, used)
        assert charged <= used
        keys = data.draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=4))
        items = data.draw(st.lists(st.integers(1, 9), min_size=len(keys), max_size=len(keys)))
        for key, share in zip(keys, split(charged, items), strict=True):
            self.ledger.attribute(key, Times(share, 0, share * 3, share * 2))

    @rule()
    def close(self) -> None:
        self.ledger.close_minute(self.now)
        spread = sum(t.usage_ns + t.idle_ns for t in self.ledger._open.values())
        if not self.ledger._closed:  # while all of the time is still kept in nanoseconds
            provisioned = self.ledger.provisioned_ns(self.now)
            assert spread == provisioned - self.ledger.held_ns(self.now)

    @rule(price=st.floats(0.1, 10.0))
    def change_price(self, price: float) -> None:
        self.ledger.close_minute(self.now)
        before = {key: self.ledger.dollars(key) for key in self.ledger.accounts()}
        self.ledger.change_price(self.now, price)
        assert {key: self.ledger.dollars(key) for key in self.ledger.accounts()} == before

    @invariant()
    def adds_up(self) -> None:
        ledger, now = self.ledger, self.now
        idle = ledger.idle_ns(now)
        assert ledger.attributed_ns + idle + ledger.held_ns(now) == ledger.provisioned_ns(now)
        assert ledger.provisioned_ns(now) == 3 * (now - OPENED_NS)
        assert ledger.attributed_ns == sum(map(ledger.usage_ns, KEYS))
        assert idle >= self.idle, "idle time never falls"
        self.idle = idle

    @invariant()
    def no_dollar_is_taken_back(self) -> None:
        for key, before in self.seen.items():
            now = self.ledger.dollars(key)
            assert now.usage >= before.usage and now.allocation >= before.allocation
            assert now.reference >= before.reference and now.routed >= before.routed
        self.seen = {key: self.ledger.dollars(key) for key in self.ledger.accounts()}


test_the_books_always_balance = Books.TestCase


def test_idle_time_is_spread_by_the_minutes_usage() -> None:
    ledger = Ledger(1, 0, 1.0)
    for batch, (key, used) in enumerate(zip(KEYS, (100, 300), strict=False)):
        ledger.hold(batch, batch * 1000)
        ledger.attribute(key, Times(ledger.release(batch, batch * 1000 + 500, used)))
    ledger.close_minute(4000)
    one, two = (round(ledger.dollars(key).allocation * 1e9) for key in KEYS[:2])
    assert (one, two) == (1000, 3000)


def test_an_empty_minute_goes_to_nobody() -> None:
    ledger = Ledger(2, 0, 1.0)
    ledger.close_minute(50)
    assert ledger.accounts() == [IDLE] and IDLE.tenant == IDLE_TENANT == "_idle"
    assert ledger.dollars(IDLE).allocation * 1e9 == pytest.approx(100)
    assert ledger.dollars(IDLE).usage == 0.0


def test_an_earlier_minutes_usage_bears_no_later_idle_time() -> None:
    ledger = Ledger(1, 0, 1.0)
    ledger.hold(1, 0)
    ledger.attribute(KEYS[0], Times(ledger.release(1, 10, 10)))
    ledger.close_minute(60)
    before = ledger.dollars(KEYS[0])
    ledger.close_minute(120)
    assert ledger.dollars(KEYS[0]) == before
    assert ledger.dollars(IDLE).allocation * 1e9 == pytest.approx(60)


def test_a_batch_is_not_charged_more_than_it_held() -> None:
    ledger = Ledger(4, 0, 1.0)
    ledger.hold(1, 100, devices=2)
    assert ledger.held_ns(150) == 100
    assert ledger.release(1, 200, 10**9) == 200
    assert ledger.held_ns(300) == 0


def test_every_nanosecond_costs_what_held_on_its_day() -> None:
    ledger = Ledger(1, 0, 1.0)
    key = KEYS[0]
    for batch, price in ((1, 5.0), (2, 7.0)):
        ledger.hold(batch, ledger.attributed_ns)
        ledger.attribute(key, Times(ledger.release(batch, ledger.attributed_ns + 1000, 1000)))
        ledger.change_price(ledger.attributed_ns, price)
    assert ledger.dollars(key).usage * 1e9 == pytest.approx(1000 * 1.0 + 1000 * 5.0)
    assert ledger.usage_ns(key) == 2000 and ledger.usd(1000) * 1e9 == pytest.approx(7000)
