"""Keeps the books at the prices of the day, for every kind of device there is."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta

from gateway import log
from gateway.core.books import HOST, Books
from gateway.core.ledger import Ledger
from model_repo.prices import Price, PriceBook

_MINUTE_S = 60.0
_CARDS = 1
"""A process computes on one accelerator: the first that it sees."""


class Bookkeeping:
    """The books, and the price at which each ledger in them stands; `day` is that of the prices."""

    def __init__(self, prices: PriceBook, cores: int) -> None:
        self._prices = prices
        self.day = _today()
        self._hardware = {HOST: ""}
        self._at = {HOST: prices.target_price(HOST, self.day)}
        self.books = Books(self._opened(HOST, cores))

    def _opened(self, device: str, count: int) -> Ledger:
        return Ledger(count, time.monotonic_ns(), self._at[device].usd_per_device_s)

    def open(self, devices: Mapping[str, str]) -> None:
        """Begin a ledger for each of the devices that has none; raises BadInput if unpriced.

        devices: each with what the price book calls its hardware, or "".
        """
        for device in devices.keys() - self.books.ledgers.keys():
            self._hardware[device] = devices[device]
            self._at[device] = self._price(device)
            self.books.ledgers[device] = self._opened(device, _CARDS)

    def _price(self, device: str) -> Price:
        return self._prices.target_price(device, self.day, self._hardware[device])

    def instances(self) -> dict[str, str]:
        """The instance type that each device is priced as."""
        return {device: price.instance for device, price in self._at.items()}

    async def keep(self, on_new_prices: Callable[[], None]) -> None:
        """Close each minute, and every sum when the price of a device-second changes."""
        while True:
            await asyncio.sleep(min(_MINUTE_S, _seconds_to_midnight()))
            try:
                if self.close_minute():
                    on_new_prices()
            except Exception as error:  # the next minute is closed all the same
                log.event(f"closing the minute failed: {error!r}", level=logging.ERROR)

    def close_minute(self) -> bool:
        """Whether the day brought other prices."""
        self.books.close_minute(time.monotonic_ns())
        if self.day == _today():
            return False
        self.day = _today()
        now = {device: self._price(device) for device in self._at}
        changed = {device for device, price in now.items() if price != self._at[device]}
        for device in changed:
            self._change(device, now[device])
        return bool(changed)

    def _change(self, device: str, price: Price) -> None:
        self._at[device] = price
        self.books[device].change_price(time.monotonic_ns(), price.usd_per_device_s)


def _today() -> date:
    return datetime.now(UTC).date()


def _seconds_to_midnight() -> float:
    now = datetime.now(UTC)
    tomorrow = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), UTC)
    return (tomorrow - now).total_seconds()
