"""On a GPU, compile measures the gpu variants, and the report knows that they serve here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_recipe

from model_repo.cli import main

RECIPE = (
    tiny_recipe.RECIPE.partition("formats:")[0]
    + """targets: [cpu, gpu]
formats: [onnx_graph, torch_program]
variants:
  fp32: []
  pruned: [prune: {ratio: 0.5, epochs: 1}]
"""
)


def test_what_was_timed_here_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tiny_recipe.write(tmp_path / "recipe", RECIPE)
    store = ["--repository", str(tmp_path / "models")]
    assert main(["compile", str(path), *store]) == 0
    capsys.readouterr()
    assert main(["report", "tiny", "--json", *store]) == 0
    rows = {row["variant"]: row for row in json.loads(capsys.readouterr().out)}
    made = rows["gpu-fp32-torch"]
    assert (made["source"], made["servable"], made["target"]) == ("measured", True, "gpu")
    assert abs(made["accuracy"] - rows["cpu-fp32"]["accuracy"]) < 0.02
