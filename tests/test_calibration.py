"""Calibration rows are cut in order, and none without a finite range gets through."""

from __future__ import annotations

import numpy as np
import pytest

from compilers import calibration
from compilers.datasets import Data
from model_repo.errors import BadInput


def test_rows_are_cut_in_order() -> None:
    data = Data({"x": np.arange(45), "y": np.arange(90.0).reshape(45, 2)})
    parts = calibration.batches(data)
    assert [len(part["x"]) for part in parts] == [20, 20, 5]
    assert (np.concatenate([part["y"] for part in parts]) == data.inputs["y"]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_refused(value: float) -> None:
    rows = np.zeros((30, 4), np.float32)
    rows[[7, 9], 1] = value
    with pytest.raises(BadInput, match="2 of 30 calibration rows hold NaN or infinity in 'x'"):
        calibration.batches(Data({"x": rows}))


def test_no_rows_are_refused() -> None:
    with pytest.raises(BadInput, match="there are no calibration rows"):
        calibration.batches(Data({"x": np.zeros((0, 4))}))
