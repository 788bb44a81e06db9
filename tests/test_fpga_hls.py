"""Projects for HLS answer as the fixed-point network does, or name the layer that cannot."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import circuits
import numpy as np
import pytest
import tiny_recipe
from hypothesis import given, settings
from hypothesis import strategies as st

from compilers.contracts import Job
from compilers.fpga import cycles, hls, images, spans
from compilers.fpga.fixed import Affine, FixedModel, Largest, Layer, Rectify
from compilers.fpga.images import Image, Window
from compilers.plan import read_plan
from compilers.targets import fpga
from model_repo.errors import BadInput, FareboxError, MissingExtra, Unsupported
from model_repo.hls import FACTS, Loop, read_project
from model_repo.rtl import Fraction

pytest.importorskip("hls4ml", reason="needs farebox[fpga]")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def job(**options: Any) -> Job:
    return Job(fpga.Options(hls=True, **options), circuits.SIGNATURE, (1, 4), 0)


def written(model: FixedModel, folder: Path, **options: Any) -> Path:
    path = folder / "project.zip"
    hls.write(model, fpga.Options(hls=True, **options), path)
    return path


def affine(shape: Image, outputs: int, window: Window, rng: np.random.Generator) -> Affine:
    taps = images._taps(shape, window)
    weights = rng.integers(-7, 8, (taps.shape[1], outputs)) / 8
    return Affine(weights, rng.integers(-7, 8, outputs) / 16, taps)


def pooled(shape: Image, window: Window, is_mean: bool) -> Layer:
    channels, height, width = shape
    one = images._taps((1, height, width), window)
    taps = np.concatenate([each * height * width + one for each in range(channels)])
    seen = taps.shape[1]
    return Affine(np.full((seen, 1), 1 / seen), np.zeros(1), taps) if is_mean else Largest(taps)


def perceptron(bits: int, *widths: int) -> FixedModel:
    rng, most, layers = np.random.default_rng(0), 2 ** (bits - 1) - 1, list[Layer]()
    for inputs, outputs in pairwise(widths):
        weights = rng.integers(-most, most + 1, (inputs, outputs)) / (most + 1)
        bias = rng.integers(-most, most + 1, outputs) / (most + 1)
        layers += [Affine(weights, bias, np.arange(inputs)[None]), Rectify(bits, bits - 3)]
    examples = rng.integers(0, 2**bits, (20, widths[0]))
    return FixedModel("x", "y", (widths[0],), Fraction(bits, bits), tuple(layers[:-1]), examples)


def every_layer() -> FixedModel:
    """Signed images of two channels: convolutions with strides and padding, both kinds of pooling,
    an answer that is an image too."""
    rng = np.random.default_rng(0)
    layers = (
        affine((2, 9, 9), 3, Window((2, 2), (3, 3), (1, 1), (4, 4)), rng),
        Rectify(4, 2),
        pooled((3, 4, 4), Window((2, 2), (1, 2), (0, 0), (3, 2)), False),
        affine((3, 3, 2), 4, Window((3, 1), (1, 1), (1, 0), (3, 2)), rng),
        pooled((4, 3, 2), Window((2, 1), (1, 1), (0, 0), (2, 2)), True),
        affine((4, 2, 2), 2, Window((1, 1), (1, 1), (0, 0), (2, 2)), rng),
    )
    return FixedModel("image", "map", (2, 9, 9), Fraction(5, 3, True), layers)


@pytest.mark.parametrize("reuse_factor", [1, 7, 100_000])
@pytest.mark.parametrize(
    "model", [circuits.drawn(), every_layer(), perceptron(2, 12, 7, 5)], ids=["cnn", "all", "mlp"]
)
def test_every_reuse_factor_is_exact(model: FixedModel, reuse_factor: int, tmp_path: Path) -> None:
    path = written(model, tmp_path, reuse_factor=reuse_factor)
    hls.check_exact(model, path, 0)


@pytest.mark.parametrize("signed", [False, True])
def test_a_single_bit_and_weights_of_zero_are_exact(signed: bool, tmp_path: Path) -> None:
    rng, inputs = np.random.default_rng(0), np.arange(6)[None]
    layers = (
        Affine(rng.integers(-1, 2, (6, 6)) / 2, np.zeros(6), inputs),
        Rectify(1, 1),
        Affine(np.zeros((6, 6)), rng.integers(-3, 4, 6) * 4.0, inputs),
        Rectify(1, -2),
    )
    model = FixedModel("x", "y", (6,), Fraction(1, 0, signed), layers)
    hls.check_exact(model, written(model, tmp_path), 0)


def test_a_network_far_too_large_to_unroll_is_exact(tmp_path: Path) -> None:
    model = perceptron(6, 64, 256, 256, 10)
    with pytest.raises(Unsupported, match="look-up tables"):
        circuit = Job(fpga.Options(), circuits.SIGNATURE, (1,), 0)
        fpga.lower(model, fpga.CIRCUIT, tmp_path, circuit)
    made = fpga.lower(model, fpga.PROJECT, tmp_path, job())
    assert (made.path, made.format) == ("project.zip", "hls_emulated")
    (tmp_path / "out").mkdir()
    kept = fpga.finish(tmp_path / made.path, tmp_path / "out", job())
    assert kept == made


def test_a_project_that_answers_otherwise_is_refused(tmp_path: Path) -> None:
    model = perceptron(3, 4, 3)
    path = written(model, tmp_path)
    (layer,) = model.layers
    assert isinstance(layer, Affine)
    other = Affine(layer.weights, layer.bias + 0.25, layer.taps)
    with pytest.raises(FareboxError, match="answers 84 of 84 rows otherwise"):
        hls.check_exact(replace(model, layers=(other,)), path, 0)


WRITE = """
import sys
from pathlib import Path
import circuits
from compilers.fpga import hls
from compilers.targets.fpga import Options
hls.write(circuits.drawn(), Options(hls=True), Path(sys.argv[1]))
"""


def test_another_process_writes_the_same_bytes_and_nothing_that_runs(tmp_path: Path) -> None:
    mine = written(circuits.drawn(), tmp_path)
    other = tmp_path / "other.zip"
    paths = {"PYTHONPATH": str(Path(__file__).parent), "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", WRITE, other], check=True, env={**os.environ, **paths})
    assert mine.read_bytes() == other.read_bytes()
    with zipfile.ZipFile(mine) as file:
        names = set(file.namelist())
        assert {FACTS, "firmware/network.cpp", "firmware/weights/w2.txt", "project.tcl"} <= names
        assert not any("/tmp" in file.read(name).decode() for name in names)


def test_what_has_no_exact_form_is_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    model = circuits.drawn()
    mixed = Largest(rng.permutation(32).reshape(8, 4))
    with pytest.raises(Unsupported, match="'largest2' is not the largest of each window"):
        written(replace(model, layers=(*model.layers[:2], mixed)), tmp_path)
    strange = Affine(np.ones((4, 2)), np.zeros(2), rng.permutation(36).reshape(9, 4))
    with pytest.raises(Unsupported, match="'affine0' is not a linear or convolution layer"):
        written(replace(model, layers=(strange,)), tmp_path)
    uneven = pooled((2, 4, 4), Window((2, 2), (2, 2), (0, 0), (2, 2)), True)
    assert isinstance(uneven, Affine)
    other = Affine(uneven.weights * 2, uneven.bias, uneven.taps)
    with pytest.raises(Unsupported, match="'affine2' is not a mean"):
        written(replace(model, layers=(*model.layers[:2], other)), tmp_path)
    wide = Affine(np.array([[2.0**40], [2.0**-20]]), np.zeros(1), np.arange(2)[None])
    with pytest.raises(Unsupported, match=r"'affine0' take 6. bits, and at most 53"):
        written(FixedModel("x", "y", (2,), Fraction(4, 4), (wide,)), tmp_path)


def test_what_does_not_fit_says_by_how_much() -> None:
    with pytest.raises(Unsupported, match=r"16,384 products at once.* reuse_factor to 4 or more"):
        hls.check_fits([Loop("dense", 1, 64, 256, 1)])
    with pytest.raises(Unsupported, match=r"12,288 multipliers, and xcvu47p.* has 9,024"):
        hls.check_fits([Loop(name, 1, 64, 256, 4) for name in "abc"])
    hls.check_fits([Loop(name, 1, 64, 256, 4) for name in "ab"])


@settings(max_examples=60)
@given(st.data())
def test_a_window_is_found_in_its_taps(data: st.DataObject) -> None:
    side = st.integers(1, 9)
    shape = data.draw(st.tuples(st.integers(1, 3), side, side))
    kernel = data.draw(st.tuples(*(st.integers(1, min(4, each)) for each in shape[1:])))
    stride = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = data.draw(st.tuples(*(st.integers(0, each // 2) for each in kernel)))
    high, wide = (
        (length + 2 * p - k) // s + 1
        for length, k, s, p in zip(shape[1:], kernel, stride, padding, strict=True)
    )
    taps = images._taps(shape, Window(kernel, stride, padding, (high, wide)))
    found = images.convolution(taps, shape)
    assert found is not None and found.size == (high, wide)
    assert np.array_equal(images._taps(shape, found), taps)


@given(st.integers(1, 12), st.integers(-3, 12), st.booleans())
def test_a_span_has_the_bits_of_its_format(bits: int, fraction: int, signed: bool) -> None:
    span = spans.of_format(Fraction(bits, fraction, signed))
    assert span.bits == bits
    sign = "" if signed else "u"
    assert span.type == f"ap_{sign}fixed<{bits},{bits - fraction}>"


def test_clocks_follow_the_reuse_factor() -> None:
    assert cycles.layer(Loop("relu")) == (1, cycles.SHUFFLE)
    assert cycles.layer(Loop("dense", 1, 64, 10, 64)) == (65, 64 + 6)
    assert cycles.layer(Loop("dense", 1, 64, 10, 8)) == (9, 8 + 6 + 3)
    assert cycles.layer(Loop("conv", 16, 9, 8, 9)) == (145, 16 * (9 + 6))


def test_what_was_not_synthesised_is_estimated_over_a_range(tmp_path: Path) -> None:
    asked = job(target_mhz=250, reuse_factor=8)
    path = written(perceptron(2, 64, 16, 10), tmp_path, target_mhz=250, reuse_factor=8)
    found = fpga.estimate(path, fpga.PROJECT, asked)
    project = read_project(path)
    assert [loop.reuse_factor for loop in project.loops] == [8, 1, 8]
    assert found.source == "estimated"
    assert "not synthesised, at an assumed 250 MHz" in found.host
    one, four = found.latency
    assert one.device_low_s == pytest.approx((9 + 1 + 9) / 250e6)
    assert one.device_s == one.device_high_s == pytest.approx((17 + 6 + 15) / 250e6)
    assert four.device_low_s == pytest.approx((9 + 1 + 9 + 3 * 9) / 250e6)
    assert found.notes["fpga.hls_multipliers"] == 64 * 16 / 8 + 16 * 10 / 8
    assert found.memory_bytes == -(-sum(loop.weight_bits for loop in project.loops) // 8)


def test_a_recipe_asks_for_a_project_instead_of_a_circuit(tmp_path: Path) -> None:
    names = {}
    for target in ("fpga", "fpga: {hls: true}"):
        text = tiny_recipe.RECIPE + f"  few: {{targets: [{target}], passes: [quantize_aware]}}\n"
        folder = tmp_path / str(len(names))
        folder.mkdir()
        text = text.replace("source:", f"targets: [cpu, {target}]\nsource:", 1)
        plan = read_plan(tiny_recipe.write(folder, text))
        names[target] = [each.key.variant for each in plan.variants if each.name == "few"]
    assert list(names.values()) == [["fpga-few"], ["fpga-few-hls"]]


def test_a_project_is_not_placed_here() -> None:
    with pytest.raises(BadInput, match="nothing is synthesised here: leave out place"):
        fpga.check(fpga.Options(hls=True, place=True))
    fpga.check(fpga.Options(hls=True))


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hls4ml.backends", None)
    with pytest.raises(MissingExtra, match=r"farebox\[fpga\]"):
        written(circuits.drawn(), tmp_path)
