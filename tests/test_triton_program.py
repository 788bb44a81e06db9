"""What Triton's Python backend is given joins requests, answers each, and runs the program."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gpu_models
import numpy as np
import pytest
import torch

from compilers.forms import TorchModel
from compilers.gpu import program
from model_repo.program_archive import Settings


def tensor(name: str, array: Any) -> Any:
    return SimpleNamespace(name=name, as_numpy=lambda: array)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's own module, as far as it is used; it exists inside of Triton alone."""
    made = SimpleNamespace(
        Tensor=tensor,
        InferenceResponse=lambda output_tensors: output_tensors,
        get_input_tensor_by_name=lambda request, name: request[name],
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", made)  # type: ignore[arg-type]


def test_requests_are_joined_and_their_answers_cut(backend: None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval()
    (tmp_path / "3").mkdir()
    path = tmp_path / "3" / "model.pt2"
    program.write(TorchModel("net", network), gpu_models.CNN, Settings(), path)
    origin = importlib.util.find_spec("model_repo.triton_program")
    assert origin and origin.origin
    copied = tmp_path / "3" / "model.py"
    copied.write_bytes(Path(origin.origin).read_bytes())
    spec = importlib.util.spec_from_file_location("model_for_triton", copied)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.TritonPythonModel()
    model.initialize(
        {
            "model_repository": str(tmp_path),
            "model_version": "3",
            "model_instance_kind": "CPU",
            "model_instance_device_id": "0",
            "model_config": json.dumps({"input": [{"name": "x"}], "output": [{"name": "y"}]}),
        }
    )
    batches = [gpu_models.rows(size) for size in (1, 4, 2)]
    answers = model.execute([{"x": tensor("x", batch)} for batch in batches])
    for batch, (answer,) in zip(batches, answers, strict=True):
        with torch.no_grad():
            right = network(torch.from_numpy(batch)).numpy()
        assert answer.name == "y" and answer.as_numpy() == pytest.approx(right, abs=1e-6)
    assert np.shape(answers[1][0].as_numpy()) == (4, 10)
