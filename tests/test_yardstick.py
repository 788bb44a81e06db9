"""A network in the making is measured as the variant will be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compilers.contracts import Work
from compilers.datasets import Data
from compilers.source import Source
from compilers.training.yardstick import yardstick
from model_repo.errors import BadInput
from model_repo.records import Metric

ROWS = np.array([[2, 1], [0, 3], [1, 4], [5, 0]], np.float32)


def work(
    metric: Metric, labels: list[int] | None = None, reference: nn.Module | None = None
) -> Work:
    data = Data({"x": ROWS}, None if labels is None else np.array(labels))
    source = Source(Path("source.py"), {}, lambda: data)
    loads = (lambda: reference) if reference else None
    return Work(source, data, data, data, 0, metric=metric, reference=loads)


class Swapped(nn.Module):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.flip(1)


def test_accuracy_is_the_share_of_right_answers() -> None:
    own = work("accuracy", [0, 1, 1, 1])
    share, loss = yardstick(own, own.validation).measure(nn.Identity())
    assert share == 0.75
    assert loss < 0


def test_agreement_and_cosine_compare_with_the_reference_and_need_no_labels() -> None:
    own = work("agreement", None, Swapped())
    measure = yardstick(own, own.validation).measure
    assert measure(nn.Identity())[0] == 0
    assert measure(Swapped())[0] == 1
    assert measure(Swapped())[1] > measure(nn.Identity())[1]
    own = work("cosine", None, Swapped())
    cosines = [4 / 5, 0, 8 / 17, 0]
    assert yardstick(own, own.validation).measure(nn.Identity())[0] == pytest.approx(
        np.mean(cosines)
    )


def test_before_there_is_a_reference_it_takes_labels() -> None:
    own = work("cosine", [0, 1, 1, 0])
    assert yardstick(own, own.validation).measure(nn.Identity())[0] == 1
    with pytest.raises(BadInput, match="no labels, which training by right answers needs"):
        yardstick(own, Data({"x": ROWS}))
