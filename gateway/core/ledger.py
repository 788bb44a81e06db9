"""Device time by account, to the nanosecond: attributed + idle = provisioned.

Everything is kept in integer device-nanoseconds of one pool (host x instance type); dollars are
formed when read. Two bases, as OpenCost has them: usage is what a request's batch consumed;
allocation adds each closed minute's idle time, spread by that minute's usage.
While a batch runs, the devices it holds are neither attributed nor idle yet: `held_ns`.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

IDLE_TENANT = "_idle"


class AccountKey(Struct, frozen=True, order=True):
    """Whose time it is; the idle account has empty names and the tenant `_idle`."""

    model: str
    version: str
    variant: str
    target: str
    tenant: str


IDLE = AccountKey("", "", "", "", IDLE_TENANT)


class Times(Struct):
    """Device-nanoseconds of one account, in one span of time.

    reference_ns: what the same requests would have used on the reference variant;
    routed_ns: on the variant routing chose (differs from usage in report-only mode);
    idle_ns: idle time spread onto this account.
    """

    usage_ns: int = 0
    idle_ns: int = 0
    reference_ns: int = 0
    routed_ns: int = 0


class Dollars(Struct, frozen=True):
    """The same four figures in dollars."""

    usage: float
    allocation: float
    reference: float
    routed: float


def split(total_ns: int, items: Sequence[int]) -> list[int]:
    """Divide a batch's time by items; the parts add up to the total exactly.

    Each part is the difference of two rounded-down running shares, so no remainder is lost.
    """
    whole, seen, before = sum(items), 0, 0
    parts = []
    for count in items:
        seen += count
        upto = total_ns * seen // whole
        parts.append(upto - before)
        before = upto
    return parts


class Ledger:
    """The accounts of one device pool, opened at `opened_ns` (monotonic)."""

    def __init__(self, devices: int, opened_ns: int, usd_per_device_s: float) -> None:
        self.devices = devices
        self._opened_ns = opened_ns
        self._usd_per_ns = usd_per_device_s / 1e9
        self._open: dict[AccountKey, Times] = {}
        self._minute: dict[AccountKey, int] = {}
        self._closed: dict[AccountKey, Dollars] = {}
        self._held: dict[int, tuple[int, int]] = {}
        self._total: dict[AccountKey, int] = {}
        self.attributed_ns = 0
        self._spread_ns = 0

    def provisioned_ns(self, now_ns: int) -> int:
        """Devices times nanoseconds since opening."""
        return self.devices * (now_ns - self._opened_ns)

    def held_ns(self, now_ns: int) -> int:
        """Time held by batches that have not ended yet."""
        return sum(devices * (now_ns - start) for start, devices in self._held.values())

    def idle_ns(self, now_ns: int) -> int:
        """Time nothing was attributed to; never falls."""
        return self.provisioned_ns(now_ns) - self.attributed_ns - self.held_ns(now_ns)

    def hold(self, batch: int, now_ns: int, devices: int = 1) -> None:
        """A batch takes devices."""
        self._held[batch] = (now_ns, devices)

    def release(self, batch: int, now_ns: int, device_ns: int) -> int:
        """A batch gives its devices back; returns the time to attribute.

        A batch cannot have used more than it held: two clocks may disagree by a few nanoseconds.
        """
        start, devices = self._held.pop(batch)
        return min(device_ns, devices * (now_ns - start))

    def attribute(self, key: AccountKey, used: Times) -> None:
        """Book the time of one request."""
        times = self._open.get(key)
        if times is None:
            times = self._open[key] = Times()
        times.usage_ns += used.usage_ns
        times.reference_ns += used.reference_ns
        times.routed_ns += used.routed_ns
        self._minute[key] = self._minute.get(key, 0) + used.usage_ns
        self._total[key] = self._total.get(key, 0) + used.usage_ns
        self.attributed_ns += used.usage_ns

    def close_minute(self, now_ns: int) -> None:
        """Spread the idle time since the last closing by the usage since then."""
        idle = self.idle_ns(now_ns) - self._spread_ns
        self._spread_ns += idle
        users = {key: used for key, used in self._minute.items() if used}
        shares = users or {IDLE: 1}
        for key, share in zip(shares, split(idle, list(shares.values())), strict=True):
            self._open.setdefault(key, Times()).idle_ns += share
        self._minute.clear()

    def change_price(self, now_ns: int, usd_per_device_s: float) -> None:
        """Close every sum at the old price, so that no past dollar moves."""
        self.close_minute(now_ns)
        self._closed = {key: self.dollars(key) for key in self.accounts()}
        self._open = {}
        self._usd_per_ns = usd_per_device_s / 1e9

    def accounts(self) -> list[AccountKey]:
        """Every account there is, sorted."""
        return sorted(self._open.keys() | self._closed.keys())

    def usage_ns(self, key: AccountKey) -> int:
        """All time ever attributed to an account."""
        return self._total.get(key, 0)

    def dollars(self, key: AccountKey) -> Dollars:
        """An account in dollars, each nanosecond at the price of its day."""
        past = self._closed.get(key, Dollars(0.0, 0.0, 0.0, 0.0))
        now, rate = self._open.get(key, Times()), self._usd_per_ns
        return Dollars(
            past.usage + now.usage_ns * rate,
            past.allocation + (now.usage_ns + now.idle_ns) * rate,
            past.reference + now.reference_ns * rate,
            past.routed + now.routed_ns * rate,
        )

    def usd(self, device_ns: int) -> float:
        """Device time at the price in force."""
        return device_ns * self._usd_per_ns
