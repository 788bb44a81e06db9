"""Pairs are calibrated on one split, judged on another, and shelved only where they pay."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from msgspec import structs

from compilers.cascades.pairing import (
    Pair,
    Stage,
    calibrate,
    cascade_name,
    choose,
    may_pay,
    publish,
)
from model_repo.errors import BadInput
from model_repo.records import (
    Artifact,
    Cascade,
    LatencyPoint,
    Profile,
    Variant,
    VariantKey,
)

ROWS = 200


def variant(
    name: str, low: float, item_s: float, lone_s: float | None = None, target: str = "cpu"
) -> Variant:
    """A batch of ten costs `item_s` an item, a lone request twice as much or `lone_s`."""
    points = tuple(
        LatencyPoint(size, cost, cost, cost, cost, 100)
        for size, cost in ((1, 2 * item_s if lone_s is None else lone_s), (10, 10 * item_s))
    )
    told = Profile(
        low + 0.02, low, low + 0.03, 600, points, 0.1, 9, "h", "measured", datetime.now(UTC)
    )
    key = VariantKey("toy", "1", f"{target}-{name}")
    artifact = Artifact("model.onnx", "onnx_graph", f"sha-{name}", 1)
    return Variant(key, "variant", target, artifact, told)


def stage(made: Variant, errors: int) -> Stage:
    """Wrong on the first `errors` rows, and the less sure the earlier the row."""
    margins = np.arange(ROWS, dtype=np.float32)
    right = margins >= errors
    return Stage(made, margins, right, margins, right, margins, right)


def pair(first: Variant, second: Variant, low: float, item_s: float, lone_s: float = 1.0) -> Pair:
    told = variant("x", low, item_s, lone_s).profile
    cascade = Cascade(first.key.variant, "a", second.key.variant, "b", "y", 0.5, 0.1)
    return Pair(first, second, cascade, told)


SMALL, LARGE = variant("small", 0.90, 1e-6), variant("large", 0.98, 1e-4)
OTHER = variant("other", 0.98, 2e-4)


def test_the_name_says_both_stages() -> None:
    assert cascade_name(SMALL, LARGE) == "cpu-small-to-large"


def test_a_pair_is_tried_where_much_is_cheaper_and_something_better() -> None:
    assert may_pay(SMALL, LARGE) and not may_pay(LARGE, SMALL)
    assert not may_pay(SMALL, variant("even", 0.98, 1.9e-6)), "less than half is saved"
    assert not may_pay(SMALL, variant("worse", 0.90, 1e-4))
    assert not may_pay(SMALL, variant("large", 0.98, 1e-4, target="gpu")), "priced otherwise"


def test_the_threshold_leaves_as_many_errors_as_the_risk_allows() -> None:
    found = calibrate(stage(SMALL, 30), stage(LARGE, 0), "y", 0.05)
    # 201 * 0.05 is 10.05: nine costly rows may be accepted, and the surest of the wrong stay.
    assert found.cascade.threshold == np.nextafter(np.float32(20), np.float32(21))
    assert found.cascade.escalation == 21 / ROWS
    assert found.profile.accuracy == 1 - 9 / ROWS
    assert (found.cascade.first_sha256, found.cascade.second_sha256) == ("sha-small", "sha-large")


def test_rows_that_both_stages_miss_cost_nothing() -> None:
    found = calibrate(stage(SMALL, 30), stage(LARGE, 30), "y", 0.01)
    assert (found.cascade.threshold, found.cascade.escalation) == (0.0, 0.0)
    assert found.profile.accuracy == 1 - 30 / ROWS


def test_what_goes_on_gets_the_second_stages_answer_even_if_that_is_worse() -> None:
    # Rows 0 to 29 go on, and of those the second stage misses five that nothing else gets right.
    # It would miss row 150 too, which is not asked of it.
    second = stage(LARGE, 5)
    right = second.validation_right & (np.arange(ROWS) != 150)
    second = replace(second, validation_right=right)
    found = calibrate(stage(SMALL, 30), second, "y", 0.01)
    assert found.cascade.escalation > 0.1
    assert found.profile.accuracy == 1 - 5 / ROWS - 1 / ROWS


def test_held_out_rows_say_what_is_shelved_and_have_no_part_in_choosing() -> None:
    first, second = stage(SMALL, 30), stage(LARGE, 0)
    half = np.arange(ROWS) % 2 == 0
    unlike = replace(first, held_out_margins=first.held_out_margins * 0, held_out_right=half)
    worse = replace(second, held_out_right=half)
    assert unlike.candidate == first.candidate, "30 rows are wrong of those that choose"
    assert unlike.candidate.profile.accuracy == 1 - 30 / ROWS
    chosen = calibrate(first, second, "y", 0.05)
    assert calibrate(unlike, worse, "y", 0.05) == chosen
    shelved = publish(chosen, unlike, worse)
    assert (shelved.cascade.escalation, shelved.profile.accuracy) == (1.0, 0.5)
    assert shelved.cascade.threshold == chosen.cascade.threshold


def test_the_reference_agrees_with_itself_on_all_rows() -> None:
    sure = structs.replace(LARGE.profile, accuracy=1.0, accuracy_low=1.0, accuracy_samples=0)
    reference = structs.replace(LARGE, profile=sure)
    assert stage(reference, 0).candidate == reference


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(BadInput, match=r"200 rows cannot bound the risk by 0\.001"):
        calibrate(stage(SMALL, 30), stage(LARGE, 0), "y", 0.001)


def test_a_pair_pays_where_nothing_as_accurate_is_as_cheap() -> None:
    paying = pair(SMALL, LARGE, 0.97, 2e-6)
    assert choose([paying], [SMALL, LARGE]) == ([paying], [])


@pytest.mark.parametrize(
    ("low", "item_s", "lone_s", "pays"),
    [
        (0.97, 0.9e-4, 1.9e-4, True),
        (0.97, 0.9e-4, 2.5e-4, True),  # dearer alone, cheaper in batches
        (0.97, 1.1e-4, 1.9e-4, True),  # the other way round
        (0.97, 0.99e-4, 1.99e-4, False),  # as cheap, for all that repeats of a profile tell
        (0.97, 1.1e-4, 2.1e-4, False),
        (0.99, 1.1e-4, 2.1e-4, True),  # more accurate than anything
        (0.90, 0.9e-6, 3e-6, True),
        (0.90, 1.0e-6, 2e-6, False),  # the first stage alone is as good
    ],
)
def test_it_is_compared_with_every_single_variant(
    low: float, item_s: float, lone_s: float, pays: bool
) -> None:
    kept, told = choose([pair(SMALL, LARGE, low, item_s, lone_s)], [SMALL, LARGE])
    assert bool(kept) == pays and bool(told) != pays


def test_the_reason_names_the_rival_and_both_figures() -> None:
    _, (reason,) = choose([pair(SMALL, LARGE, 0.97, 1.1e-4)], [SMALL, LARGE, OTHER])
    assert reason == (
        "cpu-small-to-large (0.9700 or better, 110 us an item), where cpu-large (0.9800 or better, "
        "100 us an item) is as good"
    )


def test_a_pair_that_never_goes_on_is_no_cascade() -> None:
    never = pair(SMALL, LARGE, 0.99, 1e-7)
    never = replace(never, cascade=structs.replace(never.cascade, escalation=0.0))
    dear = pair(OTHER, LARGE, 0.97, 1.1e-4)
    kept, told = choose([never, dear], [SMALL, LARGE])
    assert kept == [] and told[0].startswith("cpu-other-to-large")
    assert told[1] == "cpu-small-to-large: its first stage alone is within the risk"


def test_of_two_cascades_alike_one_is_kept() -> None:
    better, worse = pair(SMALL, LARGE, 0.97, 2e-6), pair(SMALL, OTHER, 0.97, 3e-6, 2.0)
    kept, (reason,) = choose([worse, better], [SMALL, LARGE, OTHER])
    assert kept == [better] and "cpu-small-to-large" in reason


def test_only_those_that_save_most_are_kept() -> None:
    firsts = [variant(f"first{i}", 0.5, 1e-7) for i in range(6)]
    many = [
        pair(first, LARGE, 0.91 + 0.01 * i, 2e-6 * (1 + i), 0.1 + i)
        for i, first in enumerate(firsts)
    ]
    kept, told = choose(many, [SMALL, LARGE])
    assert kept == many[:4]
    assert len(told) == 2 and all("4 others save more" in reason for reason in told)
