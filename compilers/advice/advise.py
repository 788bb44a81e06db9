"""Name the variant worth compiling next for what callers ask for, and what it saves a day."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from msgspec import Struct

from compilers.advice.guess import Guess
from compilers.advice.mix import SloClass, SloMix
from compilers.cascades.cascade import at
from compilers.cascades.pairing import AS_CHEAP
from model_repo.records import Profile, Variant

Price = Callable[[str], float]
"""Dollars for a device-second of a target."""


class Seat(Struct, frozen=True):
    """Where the requests of one class go, and what they cost a day.

    variant: None if none meets the bounds, and then `missed` says which bound the closest one on
    the shelf misses; and `foretold` which one the closest guess does, "" if some guess meets all.
    """

    name: str
    variant: str | None
    usd_per_day: float
    missed: str = ""
    foretold: str = ""


class Move(Struct, frozen=True):
    """A class that would leave a variant, or none, for another; dollars a day of both."""

    name: str
    left: str | None
    left_usd_per_day: float
    usd_per_day: float


class Advice(Struct, frozen=True):
    """A variant to compile. All is foretold; the saving lies between saving_low and saving_high."""

    variant: str
    saving_usd_per_day: float
    saving_low: float
    saving_high: float
    accuracy: float
    accuracy_low: float
    moves: tuple[Move, ...]
    why: str
    recipe: dict[str, Any]


class Answer(Struct, frozen=True):
    """What a mix costs now, and what would make it cheaper; if nothing would, what came closest.

    usd_per_day: of the classes that some variant serves. noisy: variants whose profiles are, for
    which all that is foretold is less sure.
    """

    model: str
    version: str
    usd_per_day: float
    classes: tuple[Seat, ...]
    advice: Advice | None
    closest: str
    noisy: tuple[str, ...] = ()


class Bid(NamedTuple):
    """A guess that meets the bounds of a class; dollars a day as expected, at best, at worst."""

    guess: Guess
    seat: Seat
    share: float
    usd: float
    at_best: float
    at_worst: float

    @property
    def wins(self) -> bool:
        """Whether the class would move to it: costs that are closer are not told apart."""
        return self.seat.variant is None or AS_CHEAP * self.usd < self.seat.usd_per_day

    def saving(self, usd: float) -> float:
        """What a class saves that now pays; one that nothing serves pays nothing."""
        return max(0.0, self.seat.usd_per_day - usd) if self.seat.variant else 0.0


def advise(
    mix: SloMix,
    model: tuple[str, str],
    variants: Sequence[Variant],
    guesses: Iterable[Guess],
    price: Price,
) -> Answer:
    """What serving `mix` from `variants` costs, and which of `guesses` would lower that most.

    Each class goes to the cheapest variant that meets its bounds: the lower end of the accuracy
    interval against the floor, p99 of a batch of its items against the latency, as routing has it
    where nothing waits. A guess that serves a class which nothing serves comes before any saving.
    """
    guesses = list(guesses)
    seats = tuple(_seat(each, mix, variants, guesses, price) for each in mix.classes)
    total = sum(seat.usd_per_day for seat in seats)
    bids = [_bids(guess, mix, seats, price) for guess in guesses]
    won = [[bid for bid in each if bid.wins] for each in bids]
    best = max(filter(None, won), key=_worth, default=None)
    closest = "" if best else _closest([bid for each in bids for bid in each])
    noisy = tuple(each.key.variant for each in variants if not each.profile.is_settled)
    return Answer(*model, total, seats, _advice(best) if best else None, closest, noisy)


def _seat(
    each: SloClass,
    mix: SloMix,
    variants: Sequence[Variant],
    guesses: Iterable[Guess],
    price: Price,
) -> Seat:
    """The cheapest variant that meets the bounds of a class."""
    profiles = {variant.key.variant: variant.profile for variant in variants}
    if missed := _closest_miss(profiles.items(), each):
        foretold = _closest_miss(((guess.name, guess.expected) for guess in guesses), each)
        return Seat(each.name, None, 0.0, missed, foretold)
    usd, name = min(
        (_usd(variant.profile, variant.target, each, mix, price), variant.key.variant)
        for variant in variants
        if not _missed(variant.profile, each)
    )
    return Seat(each.name, name, usd)


def _closest_miss(profiles: Iterable[tuple[str, Profile]], each: SloClass) -> str:
    """By what the profile that comes closest to a class's bounds misses them; "" if one does not.

    Closest is what lacks least of the accuracy, and of those the fastest.
    """
    missed = []
    for name, profile in profiles:
        why = _missed(profile, each)
        if not why:
            return ""
        lacks = 0.0 if each.min_accuracy is None else each.min_accuracy - profile.accuracy_low
        missed.append((max(0.0, lacks), _p99_s(profile, each), f"{name}: {why}"))
    return min(missed)[2] if missed else "there is none"


def _missed(profile: Profile, each: SloClass) -> str:
    """Which bound of a class a variant does not meet; "" if it meets them all."""
    floor, limit_ms = each.min_accuracy, each.latency_ms
    if floor is not None and profile.accuracy_low < floor:
        return f"accuracy is {profile.accuracy_low:.4f} or better, and {floor:g} is asked for"
    p99_ms = 1e3 * _p99_s(profile, each)
    if limit_ms is not None and p99_ms > limit_ms:
        return f"p99 is {p99_ms:.3g} ms, and {limit_ms:g} ms are asked for"
    return ""


def _p99_s(profile: Profile, each: SloClass) -> float:
    return at(profile.latency, lambda point: point.p99_s, each.items)


def _usd(profile: Profile, target: str, each: SloClass, mix: SloMix, price: Price) -> float:
    """Dollars a day of a class on a variant."""
    device_s = at(profile.latency, lambda point: point.device_s, each.items)
    return device_s * price(target) * mix.daily(each)


def _bids(guess: Guess, mix: SloMix, seats: Sequence[Seat], price: Price) -> list[Bid]:
    def usd(profile: Profile, each: SloClass) -> float:
        return _usd(profile, guess.target, each, mix, price)

    return [
        Bid(
            guess,
            seat,
            each.share,
            usd(guess.expected, each),
            usd(guess.at_best, each),
            usd(guess.at_worst, each),
        )
        for each, seat in zip(mix.classes, seats, strict=True)
        if not _missed(guess.expected, each)
    ]


def _worth(bids: Sequence[Bid]) -> tuple[float, float, str]:
    newly = sum(bid.share for bid in bids if bid.seat.variant is None)
    return newly, sum(bid.saving(bid.usd) for bid in bids), bids[0].guess.name


def _advice(bids: Sequence[Bid]) -> Advice:
    guess = bids[0].guess
    return Advice(
        guess.name,
        sum(bid.saving(bid.usd) for bid in bids),
        sum(bid.saving(bid.at_worst) for bid in bids),
        sum(bid.saving(bid.at_best) for bid in bids),
        guess.expected.accuracy,
        guess.expected.accuracy_low,
        tuple(Move(bid.seat.name, bid.seat.variant, bid.seat.usd_per_day, bid.usd) for bid in bids),
        guess.why,
        guess.recipe,
    )


def _closest(bids: Sequence[Bid]) -> str:
    """The guess that costs least of what a class pays now, in words; "" without any."""
    paid = [bid for bid in bids if bid.seat.usd_per_day]
    if not paid:
        return ""
    bid = min(paid, key=lambda bid: (bid.usd / bid.seat.usd_per_day, bid.guess.name))
    return (
        f"{bid.guess.name} is foretold at {bid.usd:.3g} usd a day for {bid.seat.name!r}, where "
        f"{bid.seat.variant} takes {bid.seat.usd_per_day:.3g}"
    )
