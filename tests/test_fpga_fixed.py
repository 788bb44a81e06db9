"""Fixed-point networks compute what torch does, are kept whole, and are sized before unrolling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from circuits import FRACTION, dense, drawn
from hypothesis import given, settings
from hypothesis import strategies as st

from compilers.fpga import chain, fixed, size
from compilers.fpga.fixed import Affine, FixedModel, Largest, Rectify
from model_repo.errors import BadInput
from model_repo.rtl import Fraction, pack, unpack


@settings(max_examples=40)
@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), st.integers(0, 1), st.integers(4, 7)
)
def test_a_convolution_is_that_of_torch(
    channels: int, kernel: int, stride: int, padding: int, side: int
) -> None:
    layer = torch.nn.Conv2d(channels, 4, kernel, stride, padding)
    with torch.no_grad():
        for tensor in layer.parameters():
            tensor.copy_(torch.randint(-8, 8, tensor.shape) / 8)
    (link,) = chain.read(torch.nn.Sequential(layer), (channels, side, side))
    rows = np.random.default_rng(0).integers(0, 16, (5, channels, side, side)) / 16
    weights = layer.weight.detach().double().numpy().reshape(4, -1).T
    own = Affine(weights, layer.bias.detach().double().numpy(), link.taps)
    answer = fixed.apply(own, rows.reshape(5, -1))
    with torch.no_grad():
        wanted = layer.double()(torch.from_numpy(rows)).numpy()
    assert link.shape == wanted.shape[1:]
    assert np.array_equal(answer, wanted.reshape(5, -1))


def test_pooling_is_that_of_torch() -> None:
    rows = np.random.default_rng(0).integers(0, 16, (5, 2, 6, 6)) / 16
    for layer in (torch.nn.MaxPool2d(2), torch.nn.MaxPool2d(3, 2), torch.nn.AvgPool2d(2)):
        network = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 1), layer)
        link = chain.read(network, (2, 6, 6))[1]
        taps = link.taps
        assert taps is not None
        is_largest = isinstance(layer, torch.nn.MaxPool2d)
        own = Largest(taps) if is_largest else Affine(np.full((4, 1), 0.25), np.zeros(1), taps)
        wanted = layer(torch.from_numpy(rows)).numpy().reshape(5, -1)
        assert np.array_equal(fixed.apply(own, rows.reshape(5, -1)), wanted)


def test_a_relu_saturates_above_and_cuts_off_below() -> None:
    values = np.array([-1.0, 0.0, 0.24, 0.25, 1.74, 1.75, 9.0])
    wanted = [0.0, 0.0, 0.0, 0.25, 1.5, 1.75, 1.75]
    assert fixed.apply(Rectify(3, 2), values).tolist() == wanted


@given(st.integers(1, 12), st.integers(-3, 12), st.booleans(), st.floats(-1e3, 1e3))
def test_a_number_is_rounded_to_the_nearest_that_there_is(
    bits: int, fraction: int, signed: bool, value: float
) -> None:
    number = Fraction(bits, fraction, signed)
    every = number.values(np.arange(2**bits) - (2 ** (bits - 1) if signed else 0))
    near = number.values(number.codes(np.array([value])))[0]
    assert abs(near - value) == np.abs(every - value).min()
    assert np.array_equal(number.codes(every), np.ldexp(every, fraction))


@given(st.data())
def test_packed_words_are_unpacked_as_they_were(data: st.DataObject) -> None:
    fractions = data.draw(
        st.lists(st.builds(Fraction, st.integers(0, 20), st.just(2), st.booleans()), min_size=1)
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    low = [-(2**each.bits // 2) if each.signed else 0 for each in fractions]
    spread = [2**each.bits for each in fractions]
    codes = np.array(low) + rng.integers(0, spread, (3, len(spread)))
    words = pack(codes, fractions)
    assert words.dtype == np.uint32
    assert np.array_equal(unpack(words, fractions), codes)


def test_a_model_is_kept_whole_and_in_the_same_bytes(tmp_path: Path) -> None:
    model = drawn()
    places = [tmp_path / name for name in ("one", "two")]
    for place in places:
        place.mkdir()
        assert not fixed.is_saved(place)
        fixed.save(model, place)
        assert fixed.is_saved(place)
    for name in (fixed.NUMBERS, fixed.NETWORK):
        assert (places[0] / name).read_bytes() == (places[1] / name).read_bytes()
    again = fixed.load(places[0])
    rows = {"image": np.random.default_rng(1).random((7, 1, 6, 6), np.float32)}
    assert np.array_equal(again.run(rows), model.run(rows))
    assert np.array_equal(again.examples, model.examples)
    assert (again.output_name, again.format) == (model.output_name, model.format)


def test_rows_of_another_shape_are_refused() -> None:
    with pytest.raises(BadInput, match=r"'image' has rows of \[8, 8\], .*takes \[1, 6, 6\]"):
        drawn().run({"image": np.zeros((2, 8, 8), np.float32)})


def test_batches_answer_as_single_rows_do() -> None:
    model = drawn()
    rows = np.random.default_rng(1).random((fixed.ROWS + 3, 1, 6, 6), np.float32)
    whole = model.run({"image": rows})
    assert whole.dtype == np.float32
    assert np.array_equal(whole[-1:], model.run({"image": rows[-1:]}))


@pytest.mark.parametrize(("number", "digits"), [(0, 0), (1, 1), (3, 2), (7, 2), (-5, 2), (11, 3)])
def test_digits_are_counted_in_signed_form(number: int, digits: int) -> None:
    assert size.signed_digits(np.array([[number / 16.0, 1 / 16]]))[0, 0] == digits


def test_zeros_cost_nothing_and_more_weights_cost_more() -> None:
    rng = np.random.default_rng(0)
    weights = rng.integers(-7, 8, (64, 16)) / 8
    whole = size.luts(dense(weights))
    half = size.luts(dense(weights * (rng.random(weights.shape) < 0.5)))
    assert 0.3 * whole < half < 0.7 * whole
    assert size.luts(dense(np.zeros((64, 16)))) == 0


def test_the_guess_is_near_what_unrolling_comes_to() -> None:
    verilog = pytest.importorskip("compilers.fpga.verilog")
    pytest.importorskip("da4ml", reason="needs farebox[fpga]")
    rng = np.random.default_rng(0)
    for bits, widths in ((2, (32, 16)), (4, (64, 24)), (5, (48, 10))):
        weights = rng.integers(1 - 2 ** (bits - 1), 2 ** (bits - 1), widths) / 2 ** (bits - 1)
        model = dense(weights)
        assert size.luts(model) == pytest.approx(verilog.unroll(model, 5).cost, rel=0.2)


def test_the_same_maths_runs_on_symbols() -> None:
    pytest.importorskip("da4ml", reason="needs farebox[fpga]")
    from da4ml.trace import FixedVariableArray, HWConfig, comb_trace

    model = drawn()
    ones = np.ones(36, int)
    symbols = FixedVariableArray.from_kif(
        0 * ones, 0 * ones, FRACTION.fraction * ones, hwconf=HWConfig(1, -1, -1)
    )
    logic = comb_trace(symbols, model.compute(symbols), keep_dead_inputs=True)
    values = model.format.values(model.examples)
    assert np.array_equal(logic.predict(values), model.compute(values))


def test_a_layer_that_gives_a_constant_is_kept() -> None:
    model = FixedModel("x", "y", (2,), FRACTION, (Affine(np.zeros((2, 1)), np.ones(1), _all(2)),))
    assert model.run({"x": np.zeros((3, 2), np.float32)}).tolist() == [[1.0]] * 3


def _all(count: int) -> np.ndarray:
    return np.arange(count)[None]
