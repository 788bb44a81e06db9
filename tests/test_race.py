"""A format loses only to one that is cheaper everywhere, and those kept never lose."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import onnx_files
import pytest

from compilers.datasets import Data
from compilers.profiling import race
from compilers.targets import cpu
from model_repo.errors import Expired
from model_repo.records import Model, TensorSpec

MODEL = Model(
    "m", "1", (TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", (-1, 3)),), True
)
DATA = Data({"x": np.random.default_rng(0).random((20, 4), np.float32)})


def null(folder: Path, name: str, **times: float) -> tuple[Path, str]:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(times))
    return path, "null"


def test_both_formats_of_a_graph_are_timed_at_three_sizes(tmp_path: Path) -> None:
    proto = onnx.load(onnx_files.linear(tmp_path / "given.onnx"))
    entrants = {
        name: (tmp_path / cpu.lower(proto, name, tmp_path).path, name) for name in cpu.FORMATS
    }
    times = race.run(entrants, MODEL, DATA, (1, 2, 4, 8), 0)
    assert times.keys() == cpu.FORMATS.keys()
    for found in times.values():
        assert list(found) == [1, 4, 8] and min(found.values()) > 0


def test_device_time_is_what_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race, "BUDGET_S", 0.01)
    entrants = {
        "slow": null(tmp_path, "slow", device_s=0.002),
        "fast": null(tmp_path, "fast", device_s_per_item=0.0005),
    }
    assert race.run(entrants, MODEL, DATA, (1, 2), 0) == {
        "slow": {1: 0.002, 2: 0.002},
        "fast": {1: 0.0005, 2: 0.001},
    }


def test_a_model_that_does_not_batch_runs_alone(tmp_path: Path) -> None:
    model = Model("m", "1", (TensorSpec("x", "FP32", (1, 4)),), MODEL.outputs, False)
    times = race.run({"a": null(tmp_path, "a")}, model, DATA, (1, 2, 4), 0)
    assert times == {"a": {1: 0.0}}


def test_who_answers_a_row_at_a_time_runs_no_batches(tmp_path: Path) -> None:
    entrants = {name: null(tmp_path, name) for name in ("a", "b")}
    times = race.run(entrants, MODEL, DATA, (1, 2, 4), 0, apart=["b"])
    assert {name: list(found) for name, found in times.items()} == {"a": [1, 2, 4], "b": [1]}


def test_a_run_past_the_limit_ends_it(tmp_path: Path) -> None:
    with pytest.raises(Expired):
        race.run({"a": null(tmp_path, "a", device_s=1.0)}, MODEL, DATA, (1,), 0, 0.01)


ONE, TWO = {1: 10.0, 8: 40.0}, {1: 20.0, 8: 48.0}


@pytest.mark.parametrize(
    ("times", "kept", "lost"),
    [
        ({"a": ONE, "b": TWO}, (), {"b": "dearer than a .*: 2.0x at 1, 1.2x at 8"}),
        ({"a": ONE, "b": TWO}, ("b",), {}),
        ({"a": ONE, "b": {1: 20.0, 8: 43.0}}, (), {}),  # within a tenth at one size
        ({"a": ONE, "b": {1: 9.0, 8: 80.0}}, (), {}),  # cheaper for lone requests
        ({"a": ONE}, (), {}),
        ({"a": ONE, "b": ONE}, (), {}),
        ({"a": ONE, "b": TWO, "c": {1: 5.0, 8: 20.0}}, (), {"a": "than c", "b": "than c .*4.0x"}),
        ({"a": {1: 0.0}, "b": {1: 0.0}}, (), {}),
    ],
)
def test_who_loses(times: race.Times, kept: tuple[str, ...], lost: dict[str, str]) -> None:
    found = race.losers(times, kept)
    assert found.keys() == lost.keys()
    for name, words in lost.items():
        assert re.search(words, found[name]), found[name]
