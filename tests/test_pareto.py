"""The front holds exactly what nothing else dominates."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from shelf import profile

from model_repo.pareto import NOISE_RATIO, NOISE_S, front
from model_repo.records import Artifact, Variant, VariantKey

Measures = tuple[float, float, float]
few = st.integers(1, 4).map(float)
measures = st.lists(st.tuples(few, few, few), max_size=12)


def build(measured: list[Measures]) -> list[Variant]:
    """Variants with these (accuracy, p99, cost); the cost is kept in device_s."""
    return [
        Variant(
            VariantKey("m", "1", f"v{i}"),
            "variant",
            "cpu",
            Artifact("a", "null", "", 0),
            profile(accuracy / 10, p99_s, cost),
        )
        for i, (accuracy, p99_s, cost) in enumerate(measured)
    ]


def usd(variant: Variant) -> float:
    return variant.profile.latency[0].device_s


def dominates(a: Measures, b: Measures) -> bool:
    return a != b and a[0] >= b[0] and a[1] <= b[1] and a[2] <= b[2]


@given(measures)
def test_a_variant_is_on_the_front_unless_another_dominates_it(measured: list[Measures]) -> None:
    names = [variant.key.variant for variant in front(build(measured), usd)]
    wanted = [
        f"v{i}"
        for i, own in enumerate(measured)
        if not any(dominates(other, own) for other in measured)
    ]
    assert names == wanted


@given(measures)
def test_equals_stay_together_and_something_always_remains(measured: list[Measures]) -> None:
    found = front(build(measured), usd)
    assert bool(found) == bool(measured)
    assert front(found, usd) == found
    twice = front(build([*measured, *measured]), usd)
    assert len(twice) == 2 * len(found)


close = st.floats(1e-5, 1e-3)
noisy = st.lists(st.tuples(few, close, few), max_size=12)


def is_beaten(own: Measures, other: Measures) -> bool:
    """As `dominates`, but p99s within 50 us or 25 % are equal."""
    slower = own[1] > other[1] + NOISE_S and own[1] > other[1] * NOISE_RATIO
    faster = other[1] > own[1] + NOISE_S and other[1] > own[1] * NOISE_RATIO
    no_worse = other[0] >= own[0] and other[2] <= own[2] and not faster
    return no_worse and (other[0] > own[0] or other[2] < own[2] or slower)


@given(noisy, st.randoms())
def test_whatever_is_dropped_is_beaten_by_one_that_stays(
    measured: list[Measures], random: Random
) -> None:
    kept = {int(v.key.variant[1:]) for v in front(build(measured), usd)}
    assert bool(kept) == bool(measured)
    for number, own in enumerate(measured):
        beaten = any(is_beaten(own, measured[other]) for other in kept)
        assert beaten == (number not in kept)
    mixed = list(measured)
    random.shuffle(mixed)
    found = {mixed[int(v.key.variant[1:])] for v in front(build(mixed), usd)}
    assert found == {measured[number] for number in kept}


def test_a_p99_within_the_noise_does_not_excuse_a_price() -> None:
    names = [v.key.variant for v in front(build([(9, 40e-6, 1), (9, 24e-6, 37)]), usd)]
    assert names == ["v0"]
    assert len(front(build([(9, 0.0100, 1), (9, 0.0085, 2)]), usd)) == 1  # within 25 %
    assert len(front(build([(9, 0.0100, 1), (9, 0.0075, 2)]), usd)) == 2


def test_what_beats_by_a_chain_of_small_steps_drops_only_what_it_beats_itself() -> None:
    # Each is within the noise of the next and cheaper; the first and the last are told apart.
    chain = build([(9, 0.012, 1), (9, 0.010, 2), (9, 0.0085, 3)])
    assert [v.key.variant for v in front(chain, usd)] == ["v0", "v2"]


def test_prices_move_the_front() -> None:
    variants = build([(9, 2, 1), (8, 2, 2)])
    assert [v.key.variant for v in front(variants, usd)] == ["v0"]
    assert len(front(variants, lambda variant: -usd(variant))) == 2
