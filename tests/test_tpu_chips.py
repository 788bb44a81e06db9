"""What the TPU's compiler says becomes a range of seconds; sentinels and unknown chips are told."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compilers.tpu.chips import CHIPS, Compiled, chip_of, corrected, span
from model_repo.errors import BadInput

ONE = Compiled("v5e:2x2", 8, 197e9, 819e6, 0.5e-3, 3_000_000, 1, 10**6)


def test_the_upper_end_is_the_slowest_of_three_and_the_lower_what_xla_calls_optimal() -> None:
    chip = chip_of("v5e:2x2")
    # A millisecond of products, one of memory, two of cycles.
    assert span(ONE, chip) == pytest.approx((0.5e-3, 2e-3))
    assert span(msgspec.structs.replace(ONE, cycles=0), chip)[1] == pytest.approx(2e-3)
    assert span(msgspec.structs.replace(ONE, cycles=6_000_000), chip)[1] == pytest.approx(4e-3)
    assert span(msgspec.structs.replace(ONE, passes=6), chip)[1] == pytest.approx(7e-3)
    assert span(msgspec.structs.replace(ONE, optimal_s=9e-3), chip)[1] == 9e-3


@pytest.mark.parametrize("calls", [1, 3, 12, 17])
def test_a_second_is_added_back_for_each_call_of_unknown_cost(calls: int) -> None:
    import numpy as np

    raw = float(np.float32(2.5e-4 - calls))
    step = float(np.spacing(np.float32(raw)))
    assert 2.5e-4 - 2 * abs(step) < corrected(raw) <= 2.5e-4


@given(
    st.floats(-40, 1),
    st.floats(0, 1e15),
    st.floats(0, 1e12),
    st.integers(0, 10**12),
    st.sampled_from(sorted(CHIPS)),
)
def test_a_range_is_never_upside_down(
    optimal_s: float, flops: float, moved: float, cycles: int, name: str
) -> None:
    made = Compiled(f"{name}:2x2", 1, flops, moved, optimal_s, cycles, 6, 0)
    low, high = span(made, CHIPS[name])
    assert 0 <= low <= high


@pytest.mark.parametrize("topology", ["v9:2x2", "v5e", "v5e:3x7", ""])
def test_a_topology_that_is_not_known_is_refused_with_those_that_are(topology: str) -> None:
    with pytest.raises(BadInput, match=r"choose among v5e:2x2, v6e:2x2"):
        chip_of(topology)
