"""What a cascade is expected to take follows from its stages, for any share that goes on."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import shelf
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from compilers.cascades.cascade import expected_latency, expected_profile
from compilers.profiling.scoring import Score
from model_repo.records import LatencyPoint

SHARES = st.floats(0, 1)


def points(alone_s: float, *sizes: int) -> tuple[LatencyPoint, ...]:
    """Half of a lone row's time is fixed, the other half grows with the rows."""
    at = [(size, alone_s * (1 + size) / 2) for size in sizes]
    return tuple(LatencyPoint(b, s, 1.5 * s, 2 * s, 0.9 * s, 100 + b) for b, s in at)


FIRST, SECOND = points(1e-5, 1, 4, 16, 64), points(1e-3, 1, 8, 32)


def test_if_nothing_goes_on_it_is_the_first_stage() -> None:
    for found, alone in zip(expected_latency(FIRST, SECOND, 0.0), FIRST, strict=True):
        assert structs.replace(found, runs=alone.runs) == alone


def test_if_all_go_on_it_is_both_stages_and_the_second_runs_in_parts() -> None:
    found = {point.batch_size: point for point in expected_latency(FIRST, SECOND, 1.0)}
    assert found[4].p99_s == pytest.approx(2e-5 * 2.5 + 2e-3 * 2.5)  # 4 lies between 1 and 8
    assert found[64].device_s == pytest.approx(0.9 * (1e-5 * 32.5 + 2 * 1e-3 * 16.5))
    assert found[1].runs == 101


@pytest.mark.parametrize("size", [1, 4, 16, 64])
@pytest.mark.parametrize("escalation", [0.02, 0.3, 0.9])
def test_device_time_is_the_mean_over_the_rows_that_go_on(size: int, escalation: float) -> None:
    rows = np.random.default_rng(0).binomial(size, escalation, 40_000)
    # The second stage's own law: fixed and growing halves, and none for no rows.
    parts = [divmod(k, 32) for k in rows]
    seconds = [w * 16.5e-3 + (r > 0) * 1e-3 * (1 + r) / 2 for w, r in parts]
    (found,) = (p for p in expected_latency(FIRST, SECOND, escalation) if p.batch_size == size)
    assert found.device_s == pytest.approx(
        0.9 * (1e-5 * (1 + size) / 2 + float(np.mean(seconds))), rel=0.05
    )


def test_a_lone_request_waits_for_the_second_stage_only_as_often_as_it_is_asked() -> None:
    lone = expected_latency(FIRST, SECOND, 0.03)[0]
    assert (lone.p50_s, lone.p95_s) == (FIRST[0].p50_s, FIRST[0].p95_s)
    assert lone.p99_s == FIRST[0].p99_s + SECOND[0].p99_s


@given(SHARES, SHARES)
def test_more_that_goes_on_never_takes_less(a: float, b: float) -> None:
    less, more = (expected_latency(FIRST, SECOND, share) for share in sorted((a, b)))
    for low, high in zip(less, more, strict=True):
        assert low.device_s <= high.device_s * (1 + 1e-9)
        assert (low.p50_s, low.p95_s, low.p99_s) <= (high.p50_s, high.p95_s, high.p99_s)
        assert low.p50_s <= low.p95_s <= low.p99_s


def test_a_profile_says_how_accurate_the_pair_is_and_what_both_need() -> None:
    first, second = shelf.profile(0.9), shelf.profile(0.98, device_s=0.01)
    found = expected_profile(first, second, 0.1, Score(0.97, 0.95, 0.99, 600))
    assert (found.accuracy, found.accuracy_low, found.accuracy_samples) == (0.97, 0.95, 600)
    assert found.memory_bytes == first.memory_bytes + second.memory_bytes
    assert found.source == "measured"
    assert found.latency[0].device_s == pytest.approx(0.0001 + 0.1 * 0.01)


def test_device_time_is_as_sure_as_that_of_both_stages() -> None:
    def bounded(points: tuple[LatencyPoint, ...]) -> tuple[LatencyPoint, ...]:
        return tuple(
            structs.replace(p, device_low_s=0.9 * p.device_s, device_high_s=1.2 * p.device_s)
            for p in points
        )

    for point in expected_latency(bounded(FIRST), bounded(SECOND), 0.2):
        assert point.device_low_s == pytest.approx(0.9 * point.device_s)
        assert point.device_high_s == pytest.approx(1.2 * point.device_s)
    unknown = expected_latency(bounded(FIRST), SECOND, 0.2)[0]
    assert (unknown.device_low_s, unknown.device_high_s) == (0.0, 0.0)


def test_a_guessed_stage_makes_a_guessed_cascade() -> None:
    guessed = shelf.profile(source="estimated")
    found = expected_profile(shelf.profile(), guessed, 0.1, Score(0.9, 0.8, 1.0, 100))
    assert found.source == "estimated"


def test_stages_of_two_machines_make_a_guessed_cascade_that_names_both() -> None:
    here = structs.replace(shelf.profile(), cpu_flags=("avx2",), others_share=0.3)
    score = Score(0.9, 0.8, 1.0, 100)
    assert expected_profile(here, here, 0.1, score).source == "measured"
    there = structs.replace(shelf.profile(), host="other", cpu_flags=("avx2", "avx512f"))
    found = expected_profile(there, here, 0.1, score)
    assert (found.source, found.host) == ("estimated", "other and host")
    assert found.cpu_flags == ("avx2",) and not found.is_settled
    bare = structs.replace(here, cpu_flags=())
    assert expected_profile(bare, here, 0.1, score).source == "estimated"


def test_a_profile_has_the_versions_of_both_stages() -> None:
    first, second = (structs.replace(shelf.profile(), versions={n: "1"}) for n in ("a", "b"))
    found = expected_profile(first, second, 0.1, Score(0.9, 0.8, 1.0, 100))
    assert found.versions == {"a": "1", "b": "1"}


def test_it_needs_nothing_that_a_serving_host_lacks() -> None:
    heavy = "{'torch', 'scipy', 'onnx', 'sklearn'}"
    code = f"import sys, compilers.cascades.cascade; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
