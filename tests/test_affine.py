"""The b-bit formulas hold for any values, and agree with ONNX Runtime bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_files
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import TensorProto

from compilers import affine
from model_repo.errors import BadInput

FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)
VALUES = arrays(np.float32, st.integers(1, 40), elements=FLOATS)
BITS = st.sampled_from([2, 4, 8])


@given(VALUES, BITS, st.booleans(), st.booleans())
def test_in_the_range_nothing_moves_more_than_half_a_step(
    values: np.ndarray, bits: int, signed: bool, symmetric: bool
) -> None:
    kind = {"signed": signed, "symmetric": symmetric}
    low, high = affine.range_of(values)
    scale, zero = affine.scale_and_zero_point(low, high, bits, **kind)
    found = affine.round_trip(values, low, high, bits, **kind)
    # The zero point is rounded too, so that an end of the range may be cut by half a step.
    slack = float(scale[0]) * (0.5 if symmetric else 1.0) * (1 + 1e-4)
    assert np.abs(found - values).max() <= slack + 1e-38
    q_min, q_max = affine.integer_range(bits, signed=signed)
    integers = affine.quantize(values, scale, zero, bits, signed=signed).astype(int)
    assert q_min <= integers.min() <= integers.max() <= q_max
    assert q_min <= zero[0] <= q_max


@given(FLOATS, FLOATS, BITS, st.booleans(), st.booleans())
def test_zero_is_exact(a: float, b: float, bits: int, signed: bool, symmetric: bool) -> None:
    """The range is widened to hold it, whatever was seen."""
    low, high = min(a, b), max(a, b)
    none = np.zeros(1, np.float32)
    assert affine.round_trip(none, low, high, bits, signed=signed, symmetric=symmetric) == 0


@given(VALUES, st.booleans())
def test_symmetric_rounds_both_signs_alike(values: np.ndarray, signed: bool) -> None:
    bound = float(np.abs(values).max())
    kind = {"signed": signed, "symmetric": True}
    there = affine.round_trip(values, -bound, bound, 8, **kind)
    back = affine.round_trip(-values, -bound, bound, 8, **kind)
    np.testing.assert_array_equal(there, -back)


@given(VALUES, VALUES, BITS, st.booleans())
def test_what_lies_outside_saturates(
    seen: np.ndarray, values: np.ndarray, bits: int, signed: bool
) -> None:
    low, high = affine.range_of(seen)
    scale, zero = affine.scale_and_zero_point(low, high, bits, signed=signed, symmetric=False)
    q_min, q_max = affine.integer_range(bits, signed=signed)
    found = affine.round_trip(values, low, high, bits, signed=signed, symmetric=False)
    ends = [float(affine.dequantize(np.array([q]), scale, zero)[0]) for q in (q_min, q_max)]
    assert ends[0] <= found.min() <= found.max() <= ends[1]


def test_ties_go_to_the_even_step() -> None:
    one, none = np.float32([1]), np.int32([0])
    halves = np.float32([-1.5, -0.5, 0.5, 1.5, 2.5])
    assert affine.quantize(halves, one, none, 8, signed=True).tolist() == [-2, 0, 0, 2, 2]


def test_the_ranges_of_integers() -> None:
    assert affine.integer_range(8, signed=True) == (-128, 127)
    assert affine.integer_range(8, signed=False) == (0, 255)
    assert affine.integer_range(4, signed=True) == (-8, 7)
    scale, zero = affine.scale_and_zero_point(-1.0, 2.0, 8, signed=False, symmetric=False)
    assert (float(scale), int(zero)) == (np.float32(3 / 255), 85)
    scale, zero = affine.scale_and_zero_point(-1.0, 2.0, 8, signed=False, symmetric=True)
    assert (float(scale), int(zero)) == (np.float32(2 / 127), 128)


def test_each_channel_has_its_own_scale() -> None:
    weight = np.float32([[1, -2, 3], [100, 0, -50], [0, 0, 0]])
    low, high = affine.range_of(weight, 0)
    scale, zero = affine.scale_and_zero_point(low, high, 8, signed=True, symmetric=True)
    np.testing.assert_array_equal(scale, np.float32([[3 / 127], [100 / 127], [1]]))
    assert not zero.any()
    found = affine.round_trip(weight, low, high, 8, signed=True, symmetric=True)
    assert (np.abs(found - weight) <= scale / 2).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_range_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(BadInput, match="not finite: look for NaN"):
        affine.scale_and_zero_point(0.0, bad, 8, signed=True, symmetric=True)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("channels", [False, True])
def test_onnx_runtime_gives_the_same_bits(signed: bool, channels: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = (rng.standard_normal((64, 500)) * 10.0 ** rng.integers(-6, 6, (64, 1))).astype("f4")
    values[:, :5] = 0.0
    axis = 0 if channels else None
    low, high = affine.range_of(values[:, 50:], axis)  # so that some of the rest saturate
    scale, zero = affine.scale_and_zero_point(low, high, 8, signed=signed, symmetric=False)
    integers = affine.quantize(values, scale, zero, 8, signed=signed)
    path = onnx_files.write(
        tmp_path / "m.onnx",
        [
            onnx_files.node("QuantizeLinear", "x s z", "q", axis=0),
            onnx_files.node("DequantizeLinear", "q s z", "y", axis=0),
        ],
        [("x", TensorProto.FLOAT, [64, 500])],
        [
            ("q", TensorProto.INT8 if signed else TensorProto.UINT8, [64, 500]),
            ("y", TensorProto.FLOAT, [64, 500]),
        ],
        {
            "s": scale.ravel() if channels else scale.reshape(()),
            "z": zero.astype(integers.dtype).reshape(-1 if channels else ()),
        },
    )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given_q, given_y = session.run(None, {"x": values})
    np.testing.assert_array_equal(given_q, integers)
    np.testing.assert_array_equal(given_y, affine.dequantize(integers, scale, zero))
