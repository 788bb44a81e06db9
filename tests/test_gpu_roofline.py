"""Operations and bytes are counted as by hand, and a range of seconds follows from the peaks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import gpu_models
import numpy as np
import onnx
import onnx_files
import pytest
import torch
from gpu_models import CNN, job
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from compilers.contracts import Work
from compilers.datasets import Data
from compilers.forms import TorchModel
from compilers.gpu import counting, halves, program, roofline
from compilers.gpu.cards import CARDS, Card
from compilers.gpu.counting_torch import Program
from compilers.gpu.kernels import Kernel, Load
from compilers.passes import quantize
from compilers.targets import gpu
from model_repo.errors import Unsupported
from model_repo.program_archive import Settings

WEIGHTS = 8 * 9 + 8 + 128 * 10
EXAMPLE = Card("X", "1.0", {"fp32": 1e12, "fp16": 4e12}, 1e11, 1e10, 1e6, 1e10, "made up")


@pytest.mark.parametrize("batch", [1, 7])
def test_a_graph_is_counted_as_by_hand(batch: int, tmp_path: Path) -> None:
    load = counting.count(gpu_models.cnn(tmp_path), batch)
    conv, relu, product = load.kernels
    assert (conv.name, conv.flops) == ("conv", 2 * 9 * 128 * batch)
    assert conv.moved_bytes == 4 * (64 * batch + 80 + 128 * batch)
    assert (relu.name, relu.flops, relu.is_fused) == ("relu", 128 * batch, True)
    assert (product.name, product.flops) == ("product", 2 * 128 * 10 * batch)
    assert load.weight_bytes == 4 * WEIGHTS and load.io_bytes == 4 * 74 * batch
    assert {kernel.precision for kernel in load.kernels} == {"fp32"}
    assert load.flops == conv.flops + relu.flops + product.flops


def test_float16_halves_the_bytes_and_not_the_operations(tmp_path: Path) -> None:
    wide = counting.count(gpu_models.cnn(tmp_path), 4)
    narrow = counting.count(halves.to_fp16(gpu_models.cnn(tmp_path)), 4)
    assert narrow.flops == wide.flops and narrow.weight_bytes == wide.weight_bytes / 2
    assert narrow.io_bytes == wide.io_bytes, "inputs and outputs stay as they are"
    assert {kernel.precision for kernel in narrow.kernels} == {"fp16"}


def test_products_of_integers_read_bytes(tmp_path: Path) -> None:
    work = Work(None, *(Data({"x": gpu_models.rows(40)}),) * 3, 0)  # type: ignore[arg-type]
    made = quantize.apply(gpu_models.cnn(tmp_path), quantize.Options(mode="symmetric"), work)
    load = counting.count(made, 2)
    conv = next(kernel for kernel in load.kernels if "conv" in kernel.name)
    assert conv.precision == "int8"
    assert conv.moved_bytes == 64 * 2 + 72 + 4 * (8 + 128 * 2)
    assert load.weight_bytes < 0.4 * 4 * WEIGHTS


def test_what_is_known_before_any_data_costs_nothing(tmp_path: Path) -> None:
    nodes = [
        onnx_files.node("Shape", "x", "shape"),
        onnx_files.node("Gather", "shape first", "rows"),
        onnx_files.node("Concat", "rows rest", "to", axis=0),
        onnx_files.node("Reshape", "x to", "flat"),
        onnx_files.node("Add", "flat one", "y"),
    ]
    path = onnx_files.write(
        tmp_path / "m.onnx",
        nodes,
        [("x", onnx_files.FLOAT, ["n", 2, 3])],
        [("y", onnx_files.FLOAT, ["n", 6])],
        {"first": np.array([0]), "rest": np.array([6]), "one": np.float32([1])},
        opset=18,
    )
    (kernel,) = counting.count(onnx.load(path), 5).kernels
    assert kernel.flops == 30


def test_sizes_that_depend_on_the_data_are_refused(tmp_path: Path) -> None:
    path = onnx_files.write(
        tmp_path / "m.onnx",
        [
            onnx_files.node("NonZero", "x", "found", name="search"),
            onnx_files.node("Cast", "found", "y", to=onnx_files.FLOAT),
        ],
        [("x", onnx_files.FLOAT, ["n", 2])],
        [("y", onnx_files.FLOAT, [2, "m"])],
        opset=18,
    )
    with pytest.raises(Unsupported, match=r"'found' at the node 'search' \(NonZero\) depends on"):
        counting.count(onnx.load(path), 1)


def test_a_program_is_counted_as_the_graph_of_the_same_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10, bias=False)
    path = tmp_path / "model.pt2"
    program.write(TorchModel("net", nn.Sequential(*layers).eval()), CNN, Settings(), path)
    counted = Program(path, CNN, "fp32")
    for batch in (1, 9):
        load, graph = counted.count(batch), counting.count(gpu_models.cnn(tmp_path), batch)
        assert load.flops == graph.flops and load.io_bytes == graph.io_bytes
        assert load.weight_bytes == 4 * WEIGHTS
        assert load.moved_bytes == graph.moved_bytes


def test_the_range_is_the_formula() -> None:
    load = Load([Kernel("a", 4e9, 1e9, "fp16"), Kernel("b", 1e9, 1e8, "fp32", True)], 5e7, 1e6)
    low, high = roofline.bounds(load, EXAMPLE, "tensorrt")
    assert low == pytest.approx(max(1e-3, (5e7 - 1e6 + 1e6) / 1e11) + 2e-6)
    fused = max(4e9 / (0.35 * 4e12), 1e9 / (0.6 * 1e11)) + 4e-6
    assert high == pytest.approx(fused + 1e6 / 1e10 + 2e-5)
    _, eager = roofline.bounds(load, EXAMPLE, "eager")
    alone = max(1e9 / (0.35 * 1e12), 1e8 / (0.6 * 1e11)) + 1e-5
    assert eager == pytest.approx(fused + 6e-6 + alone + 1e6 / 1e10 + 2e-5)


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1e15),
            st.floats(0, 1e12),
            st.sampled_from(["fp32", "int8"]),
            st.booleans(),
        ),
        min_size=1,
        max_size=5,
    ),
    st.floats(0, 1e10),
    st.sampled_from(sorted(CARDS)),
    st.sampled_from(sorted(roofline.LAUNCH_S)),
)
def test_the_low_end_is_under_the_high_one_on_every_card(
    kernels: list[Any], io_bytes: float, card: str, launched: str
) -> None:
    made = [Kernel("k", *each) for each in kernels]
    # Weights and the batch are among the bytes that some kernel moves.
    weights = sum(kernel.moved_bytes for kernel in made if not kernel.is_fused) / 2
    load = Load(made, weights, min(io_bytes, weights))
    low, high = roofline.bounds(load, CARDS[card], launched)
    assert 0 <= low <= high and math.isfinite(high)


@pytest.mark.parametrize("name", ["tensorrt", "torch_program"])
def test_an_estimate_says_what_it_is_of(name: str, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    model = TorchModel("n", network) if name == "torch_program" else gpu_models.cnn(tmp_path)
    slow, fast = (job(card=card) for card in ("T4", "H100"))
    path = tmp_path / gpu.lower(model, name, tmp_path, slow).path
    made = gpu.estimate(path, name, slow)
    assert (made.source, made.host) == ("estimated", "NVIDIA T4, estimated by a roofline")
    assert [point.batch_size for point in made.latency] == [1, 8, 32]
    for point in made.latency:
        assert point.runs == 0 and point.device_s == point.device_high_s > point.device_low_s
        assert point.p50_s == point.p95_s == point.p99_s == point.device_s
    assert made.notes["gpu.card"] == "T4" and made.memory_bytes > 0
    other = gpu.estimate(path, name, fast)
    pairs = zip(other.latency, made.latency, strict=True)
    assert all(a.device_s < b.device_s for a, b in pairs)


def test_every_card_has_a_source_and_peaks_in_order() -> None:
    for card in CARDS.values():
        assert any(year in card.source for year in ("2019", "2020", "2023"))
        assert card.peak["fp32"] < card.peak["fp16"] < card.peak["int8"]
        assert card.memory_bytes_s > card.host_bytes_s
