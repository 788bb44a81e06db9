"""Shapes no array can have, and tensor parameters that are not offered."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.oip import limits
from model_repo.errors import BadInput
from model_repo.tensors import element_count


@given(st.lists(st.integers(-1, 2**70) | st.integers(0, 3), max_size=40))
def test_what_passes_can_be_made(shape: list[int]) -> None:
    try:
        limits.check_shape(shape, "x")
        count = element_count(shape, "x")
    except BadInput as error:
        assert "'x'" in str(error)
        return
    if count < 1000:
        assert np.empty(count, np.float64).reshape(shape).shape == tuple(shape)


@pytest.mark.parametrize("shape", [[1] * 33, [0, 2**70], [0, 2**31, 2**31]])
def test_absurd_shapes_are_refused(shape: list[int]) -> None:
    with pytest.raises(BadInput, match="tensor 'x' has"):
        limits.check_shape(shape, "x")
