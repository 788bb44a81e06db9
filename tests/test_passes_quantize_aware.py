"""Training in few bits gives exact fixed-point maths, keeps zeros, and refuses by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import tiny_recipe
import torch
from torch import nn

from compilers.contracts import Work
from compilers.datasets import Data
from compilers.forms import TorchModel
from compilers.fpga import chain, fixed
from compilers.fpga.fixed import Affine, Largest, Rectify
from compilers.passes import quantize_aware
from model_repo.errors import BadInput, Unsupported
from model_repo.rtl import Fraction

pytest.importorskip("brevitas", reason="needs farebox[fpga]")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Work:
    work = tiny_recipe.materials(tmp_path_factory.mktemp("tiny")).work({})
    teacher = work.source.build("teacher", 0)
    return replace(work, reference=lambda: teacher)


def options(epochs: int = 1, **more: int) -> quantize_aware.Options:
    return quantize_aware.Options(epochs=epochs, learning_rate=0.02, batch_size=50, **more)


def convolved() -> nn.Module:
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4)),
        nn.ReLU(),
        nn.Dropout(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


def test_training_pays_and_what_comes_out_is_exact(shared: Work) -> None:
    torch.manual_seed(0)
    work = replace(shared, notes={}, reference=None)  # to learn the labels, not a poor teacher
    rows, labels = work.validation.inputs, work.validation.labels
    scores = []
    for epochs in (0, 12):
        given = TorchModel("teacher", work.source.build("teacher", 0))
        made = quantize_aware.apply(given, options(epochs), work)
        scores.append(float((made.run(rows).argmax(1) == labels).mean()))
    assert scores[1] > max(0.6, scores[0])
    assert work.notes["quantize_aware.validation_accuracy"] == pytest.approx(scores[1])


def test_the_same_seed_gives_the_same_numbers(shared: Work) -> None:
    made = [
        quantize_aware.apply(
            TorchModel("student", shared.source.build("student", 0)), options(2), shared
        )
        for _ in range(2)
    ]
    one, two = (
        [layer.weights for layer in each.layers if isinstance(layer, Affine)] for each in made
    )
    assert all(map(np.array_equal, one, two))


def test_layers_become_what_they_compute_and_bits_are_kept_to(shared: Work) -> None:
    torch.manual_seed(0)
    made = quantize_aware.apply(
        TorchModel("x", convolved()),
        options(input_bits=3, weight_bits=3, bias_bits=5, activation_bits=2),
        shared,
    )
    assert [type(layer) for layer in made.layers] == [Affine, Rectify, Largest, Affine]
    assert made.format == Fraction(3, 3) and made.shape == (1, 8, 8)
    assert made.output_name == shared.source.output
    first, relu = made.layers[:2]
    assert isinstance(first, Affine) and isinstance(relu, Rectify)
    assert relu.bits == 2
    for column in first.weights.T:  # a power of two of its own for each channel
        step = np.abs(column[column != 0]).min()
        assert np.abs(column / step).max() <= 3
    assert made.examples.shape == (40, 64) and made.examples.max() < 8


def test_weights_that_are_zero_stay_zero(shared: Work) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with torch.no_grad():
        network[1].weight[:, ::2] = 0
    made = quantize_aware.apply(TorchModel("x", network), options(3), shared)
    (layer,) = made.layers
    assert isinstance(layer, Affine)
    assert not layer.weights[::2].any() and layer.weights[1::2].any()


def test_a_batch_norm_is_folded_into_the_layer_before_it() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
    norm = network[1]
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor.copy_(torch.rand(3) + 0.5)
    (link,) = chain.read(network.eval(), (1, 6, 6))
    rows = torch.rand(2, 1, 6, 6)
    assert link.weight is not None
    folded = nn.functional.conv2d(rows, link.weight, link.bias)
    assert torch.allclose(folded, network(rows), atol=1e-5)


class Shortcut(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + x


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        ([nn.Flatten(), Shortcut()], "the layer '1' is a Shortcut, which has no fixed-point form"),
        ([nn.Flatten(), nn.Linear(64, 8), nn.LayerNorm(8)], "the layer '2' is a LayerNorm"),
        ([nn.Flatten(), nn.Linear(64, 8), nn.GELU()], "the layer '2' is a GELU"),
        ([nn.Linear(8, 8)], r"'0' is a Linear, .*rows are \[1, 8, 8\]: put Flatten before"),
        ([nn.Conv2d(1, 2, 3, dilation=2)], "it has groups or a dilation"),
        ([nn.AvgPool2d(3)], "divides by 9, which is no power of two"),
        ([nn.BatchNorm2d(1)], "does not come right after a linear or convolution"),
        ([nn.Flatten()], "no linear or convolution layer"),
        ([nn.Sequential(nn.Sequential(nn.Softmax(1)))], "the layer '0.0.0' is a Softmax"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_has_no_fixed_point_form_is_named(
    shared: Work, layers: list[nn.Module], told: str
) -> None:
    with pytest.raises(Unsupported, match=told):
        quantize_aware.apply(TorchModel("x", nn.Sequential(*layers)), options(), shared)


def test_a_network_that_is_no_chain_is_refused(shared: Work) -> None:
    with pytest.raises(Unsupported, match="the network is a Shortcut"):
        quantize_aware.apply(TorchModel("x", Shortcut()), options(), shared)


def test_two_inputs_and_whole_numbers_are_refused(shared: Work) -> None:
    rows = np.zeros((4, 2), np.float32)
    changed: list[tuple[Callable[[], Data], str]] = [
        (lambda: Data({"a": rows, "b": rows}), "has 2: a, b"),
        (lambda: Data({"a": rows.astype(np.int64)}), "'a' is int64"),
    ]
    for make, told in changed:
        with pytest.raises(Unsupported, match=told):
            model = TorchModel("x", nn.Sequential(nn.Linear(2, 2)))
            quantize_aware.apply(model, options(), replace(shared, train=make()))


def test_hints_are_refused_early(shared: Work) -> None:
    with pytest.raises(BadInput, match="takes no hints"):
        quantize_aware.check(quantize_aware.Options(hints={"a": "b"}), shared.source)


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(0, 1, Fraction(4, 4)), (0, 1.9, Fraction(4, 3)), (-1, 0.5, Fraction(4, 3, True)),
     (-3, 0, Fraction(4, 1, True)), (0, 0.2, Fraction(4, 6)), (0, 0, Fraction(4, 4))],
)  # fmt: skip
def test_the_input_format_holds_the_training_rows(
    low: float, high: float, wanted: Fraction
) -> None:
    assert quantize_aware.input_format(np.array([low, high]), 4) == wanted


def test_the_form_is_saved_and_loaded(
    shared: Work, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("saved")
    given = TorchModel("student", shared.source.build("student", 0))
    made = quantize_aware.apply(given, options(), shared)
    fixed.save(made, folder)
    rows = shared.validation.inputs
    assert np.array_equal(fixed.load(folder).run(rows), made.run(rows))
