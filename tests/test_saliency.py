"""Importances are what their formulas say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from compilers.datasets import Data
from compilers.training.saliency import saliency

DATA = Data({"x": np.array([[1.0, 2.0], [-3.0, 0.5]], np.float32)}, np.array([0, 1]))


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(2, 2)


def by_hand(layer: nn.Linear) -> list[np.ndarray]:
    """|dL/dW| of each sample: (softmax - onehot) outer x."""
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    found = []
    for row, label in zip(DATA.inputs["x"], [0, 1], strict=True):
        logits = weight @ row + bias
        powers = np.exp(logits - logits.max())
        error = powers / powers.sum() - np.eye(2)[label]
        found.append(np.abs(np.outer(error, row)))
    return found


def test_gradient_is_the_mean_size_of_each_samples_gradient(layer: nn.Linear) -> None:
    """Signs differ from sample to sample here, so summing first would give something else."""
    weight, bias = saliency(layer, DATA, "gradient")
    np.testing.assert_allclose(weight, np.mean(by_hand(layer), axis=0), rtol=1e-5)
    assert bias.shape == layer.bias.shape
    assert layer.weight.grad is None


def test_taylor_scales_it_by_the_weight(layer: nn.Linear) -> None:
    gradient, taylor = (saliency(layer, DATA, how)[0] for how in ("gradient", "taylor"))
    torch.testing.assert_close(taylor, gradient * layer.weight.detach().abs())


def test_without_labels_it_is_in_proportion_to_what_the_answers_lose(layer: nn.Linear) -> None:
    """Over many draws: |df/dW_ij| is |x_j|, and the mean of |v_i| for a normal v is sqrt(2/pi)."""
    rows = np.repeat(DATA.inputs["x"][:1], 2000, axis=0)
    weight, _ = saliency(layer, Data({"x": rows}), "gradient")
    wanted = np.sqrt(2 / np.pi) * np.abs(np.repeat(DATA.inputs["x"][:1], 2, axis=0))
    np.testing.assert_allclose(weight, wanted, rtol=0.06)
    torch.testing.assert_close(weight, saliency(layer, Data({"x": rows}), "gradient")[0])


def test_magnitude_needs_no_labels(layer: nn.Linear) -> None:
    bare = Data(DATA.inputs)
    torch.testing.assert_close(saliency(layer, bare, "magnitude")[0], layer.weight.detach().abs())
