"""Weights of any width load into a fresh network of the same shape of thought."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compilers.training.resize import load_resized
from model_repo.errors import BadInput


def network(width: int, hidden: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1, groups=width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, hidden),
        nn.LayerNorm(hidden),
        nn.Linear(hidden, 10),
    ).eval()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12))
def test_a_network_of_other_widths_answers_the_same(width: int, hidden: int) -> None:
    saved, fresh = network(width, hidden), network(8, 8)
    load_resized(fresh, saved.state_dict())
    images = torch.rand(3, 1, 4, 4)
    assert torch.equal(fresh.eval()(images), saved(images))
    assert fresh[0].out_channels == width
    assert fresh[3].groups == width
    assert fresh[6].in_features == width
    assert all(weight.requires_grad for weight in fresh.parameters())


@pytest.mark.parametrize(
    ("saved", "fresh"),
    [
        (lambda: nn.Sequential(nn.Embedding(4, 3)), lambda: nn.Sequential(nn.Embedding(5, 3))),
        (lambda: nn.ConvTranspose2d(2, 3, 3), lambda: nn.ConvTranspose2d(2, 4, 3)),
    ],
)
def test_refuses_a_layer_it_cannot_resize(
    saved: Callable[[], nn.Module], fresh: Callable[[], nn.Module]
) -> None:
    with pytest.raises(BadInput, match="only linear, convolution and norm layers"):
        load_resized(fresh(), saved().state_dict())
