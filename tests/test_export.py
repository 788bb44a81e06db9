"""Exported graphs have a free batch axis, the source's names, and no trace of this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_recipe
import torch
from msgspec.structs import replace as replace_struct
from torch import nn

from compilers.datasets import Data
from compilers.forms import TorchModel
from compilers.graph import export, parity
from compilers.materials import Materials
from model_repo.errors import BadInput
from model_repo.records import TensorSpec


@pytest.fixture
def materials(tmp_path: Path) -> Materials:
    return tiny_recipe.materials(tmp_path)


def test_names_axes_answers_and_origin(materials: Materials, tmp_path: Path) -> None:
    model = TorchModel("teacher", materials.source.build("teacher", 0).eval())
    proto = export.to_onnx(model, materials.work({}))
    sizes = [
        dim.dim_param or dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim
    ]
    assert sizes == ["batch", 1, 8, 8]
    assert [value.name for value in proto.graph.input] == ["image"]
    assert [value.name for value in proto.graph.output] == ["scores"]
    raw = proto.SerializeToString()
    assert str(tmp_path).encode() not in raw and b".py" not in raw
    parity.check(parity.runner(model), parity.runner(proto), materials)
    assert raw == export.to_onnx(model, materials.work({})).SerializeToString()


def test_two_inputs_share_the_batch_axis_and_an_output_may_be_named_as_an_inner_value(
    materials: Materials,
) -> None:
    class Looked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(5, 4)

        def forward(self, numbers: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
            return (self.table(numbers) * weights[:, :, None]).sum(1)

    rows = {"numbers": np.arange(30).reshape(10, 3) % 5, "weights": np.ones((10, 3), np.float32)}
    own = replace(
        materials,
        source=replace(materials.source, output="embedding"),
        splits=replace(materials.splits, calibration=Data(rows)),
        model=replace_struct(materials.model, outputs=(TensorSpec("embedding", "FP32", (-1, 4)),)),
    )
    model = TorchModel("looked", Looked().eval())
    proto = export.to_onnx(model, own.work({}))
    assert [value.name for value in proto.graph.output] == ["embedding"]
    parity.check(parity.runner(model), parity.runner(proto), own)


def test_a_network_that_cannot_be_exported_is_named(materials: Materials) -> None:
    class Deciding(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images if images.sum() > 0 else -images

    with pytest.raises(BadInput, match=r"'deciding' of .* cannot be exported to ONNX: its forward"):
        export.to_onnx(TorchModel("deciding", Deciding()), materials.work({}))


def test_parity_finds_a_difference(materials: Materials) -> None:
    networks = [materials.source.build("student", seed) for seed in (0, 1)]
    runners = [parity.runner(TorchModel("student", network)) for network in networks]
    with pytest.raises(BadInput, match=r"at batch 1 .* differ by"):
        parity.check(*runners, materials)


def test_parity_finds_another_shape(materials: Materials) -> None:
    wide = replace(materials, model=materials.model)
    narrow = parity.runner(TorchModel("x", nn.Sequential(nn.Flatten(), nn.Linear(64, 9))))
    with pytest.raises(BadInput, match=r"answers \[1, 9\], but the signature says \[-1, 10\]"):
        parity.check(narrow, narrow, wide)


def test_an_operator_that_onnx_has_none_of_is_named_with_its_layer(materials: Materials) -> None:
    class Factored(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.qr(x.flatten(1).unsqueeze(2))[0]

    model = TorchModel("factored", nn.Sequential(nn.ReLU(), Factored()).eval())
    with pytest.raises(
        BadInput,
        match=r"nothing in ONNX stands for torch's aten.linalg_qr in the layer '1' \(line \d+ of "
        r"test_export.py: .*; take another operator$",
    ):
        export.to_onnx(model, materials.work({}))
