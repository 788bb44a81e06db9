"""The front holds exactly what nothing else dominates."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from shelf import profile

from model_repo.pareto import front
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


def test_prices_move_the_front() -> None:
    variants = build([(9, 2, 1), (8, 2, 2)])
    assert [v.key.variant for v in front(variants, usd)] == ["v0"]
    assert len(front(variants, lambda variant: -usd(variant))) == 2
