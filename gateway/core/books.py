"""A ledger for each kind of device that batches run on, and their sums."""

from __future__ import annotations

from gateway.core.ledger import AccountKey, Dollars, Ledger

HOST = "cpu"
"""The target of the devices every host has."""


class Books:
    """Ledgers by target; `own` is that of this host's CPUs.

    A cost is booked with the devices it is a cost of, each at its own price: what a request would
    have used on the reference is CPU time, even if it ran on a GPU.
    """

    def __init__(self, own: Ledger) -> None:
        self.ledgers: dict[str, Ledger] = {HOST: own}

    def __getitem__(self, device: str) -> Ledger:
        return self.ledgers[device]

    def close_minute(self, now_ns: int) -> None:
        """Spread the idle time of each."""
        for ledger in self.ledgers.values():
            ledger.close_minute(now_ns)

    def accounts(self) -> list[AccountKey]:
        """Every account of any of them, sorted."""
        return sorted({key for ledger in self.ledgers.values() for key in ledger.accounts()})

    def dollars(self, key: AccountKey) -> Dollars:
        """One account over all of them."""
        each = [ledger.dollars(key) for ledger in self.ledgers.values()]
        return Dollars(
            sum(usd.usage for usd in each),
            sum(usd.allocation for usd in each),
            sum(usd.reference for usd in each),
            sum(usd.routed for usd in each),
        )
