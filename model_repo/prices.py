"""The price book: what a device-second of each instance type costs at an instant."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from msgspec import Meta, Struct, field

from model_repo.documents import parse
from model_repo.errors import BadInput

SECONDS_PER_HOUR = 3600


class Price(Struct, frozen=True, forbid_unknown_fields=True):
    """List price of one instance type from a day on.

    devices: how many of `device` one instance has; the hourly price is divided by it.
    """

    instance: str
    device: str
    devices: Annotated[int, Meta(ge=1, le=1_000_000)]
    usd_per_hour: Annotated[float, Meta(ge=1e-6, le=1e6)]
    since: date = field(name="from")
    source: str
    provider: str = ""
    region: str = ""

    @property
    def usd_per_device_s(self) -> float:
        """Dollars for one device kept busy for one second."""
        return self.usd_per_hour / self.devices / SECONDS_PER_HOUR


class PriceBook(Struct, frozen=True, forbid_unknown_fields=True):
    """Dated prices, and the instance type that stands for each target."""

    targets: dict[str, str]
    prices: tuple[Price, ...]

    def price(self, instance: str, at: date) -> Price:
        """The price of `instance` in force on the day `at`; raises BadInput if there is none."""
        known = sorted({price.instance for price in self.prices})
        if instance not in known:
            raise BadInput(
                f"the price book has no instance {instance!r}: it has {', '.join(known)}; "
                "add it under 'prices'"
            )
        dated = [p for p in self.prices if p.instance == instance and p.since <= at]
        if not dated:
            raise BadInput(
                f"the price book has no price of {instance!r} as early as {at}: "
                "add one with an earlier 'from'"
            )
        return max(dated, key=lambda price: price.since)

    def target_price(self, target: str, at: date, hardware: str = "") -> Price:
        """The price in force on `at` for the instance type that stands for `target`.

        hardware: a device that should be in it; if another is, the price is that of the instance
        type that sells such a device for the least, if the book has any.
        """
        if target not in self.targets:
            raise BadInput(
                f"the price book maps no instance type to the target {target!r}: "
                f"add '{target}: INSTANCE' under 'targets'"
            )
        price = self.price(self.targets[target], at)
        if hardware in ("", price.device):
            return price
        dated = [p.instance for p in self.prices if p.device == hardware and p.since <= at]
        offers = [self.price(instance, at) for instance in dated]
        return min(offers, key=lambda each: each.usd_per_device_s, default=price)


def parse_price_book(text: str, name: str) -> PriceBook:
    """Read a YAML price book; raises BadInput naming the key that is wrong or missing."""
    book = parse(text, PriceBook, name)
    known = {price.instance for price in book.prices}
    for target, instance in book.targets.items():
        if instance not in known:
            raise BadInput(
                f"{name}: the target {target!r} is mapped to {instance!r}, which has no price: "
                "add it under 'prices' or name another instance"
            )
    days: set[tuple[str, date]] = set()
    for price in book.prices:
        if (price.instance, price.since) in days:
            raise BadInput(f"{name}: {price.instance!r} has two prices from {price.since}")
        days.add((price.instance, price.since))
    return book
