"""Zeros go where weights matter least, two in each four if asked, and stay through training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compilers.training.sparse import choose_zeros, held_at_zero
from model_repo.errors import BadInput


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 6, 3), nn.Flatten(), nn.Linear(96, 5))


def sizes(module: nn.Module) -> list[torch.Tensor]:
    return [weight.detach().abs() for weight in module.parameters()]


@settings(max_examples=20, deadline=None)
@given(st.floats(0.05, 0.95))
def test_the_least_share_of_each_layer_goes(ratio: float) -> None:
    module = network()
    masks = choose_zeros(module, sizes(module), {}, ratio, [module[3]])
    assert list(masks) == ["0.weight", "1.weight"]
    for name, mask in masks.items():
        weight = module.get_parameter(name).detach().abs()
        gone = mask == 0
        assert int(gone.sum()) == round(ratio * weight.numel())
        if 0 < int(gone.sum()) < weight.numel():
            assert float(weight[gone].max()) <= float(weight[~gone].min())


def test_a_layer_may_have_a_ratio_of_its_own() -> None:
    module = network()
    masks = choose_zeros(module, sizes(module), {"1": 0.25}, 0.5, [])
    shares = {name: 1 - float(mask.mean()) for name, mask in masks.items()}
    assert shares == pytest.approx({"0.weight": 0.5, "1.weight": 0.25, "3.weight": 0.5})


def test_two_of_each_four_neighbours_along_the_inputs_go() -> None:
    module = network()
    masks = choose_zeros(module, sizes(module), None, 0.5, [])
    assert list(masks) == ["1.weight", "3.weight"], "one input channel has no four"
    for name, mask in masks.items():
        last = mask.movedim(1, -1).reshape(-1, 4)
        np.testing.assert_array_equal(last.sum(1), 2)
        weight = module.get_parameter(name).detach().abs().movedim(1, -1).reshape(-1, 4)
        largest = torch.where(last > 0, weight, torch.inf).min(1).values
        assert bool((torch.where(last > 0, 0, weight).max(1).values <= largest).all())
    with pytest.raises(BadInput, match="no layer to take weights from"):
        choose_zeros(nn.Linear(3, 4), [torch.ones(4, 3), torch.ones(4)], None, 0.5, [])


def test_zeros_stay_zero_while_the_others_move() -> None:
    module = network()
    masks = choose_zeros(module, sizes(module), None, 0.5, [])
    with held_at_zero(module, masks):
        before = module[3].weight.detach().clone()
        optimizer = torch.optim.AdamW(module.parameters(), lr=0.1, weight_decay=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            module(torch.rand(4, 1, 8, 8)).square().sum().backward()
            optimizer.step()
    for name, mask in masks.items():
        assert bool((module.get_parameter(name)[mask == 0] == 0).all())
    assert bool((module[3].weight != before)[masks["3.weight"] == 1].all())
