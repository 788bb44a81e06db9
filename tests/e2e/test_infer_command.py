"""`farebox infer` against a running gateway: what it sends, what it prints, how it fails."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from gateway_process import Gateway, farebox

REQUEST = {
    "id": "seven",
    "inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}],
}


def save(folder: Path, document: object) -> Path:
    path = folder / "request.json"
    path.write_text(json.dumps(document))
    return path


def infer(up: Gateway, path: Path, *flags: str) -> dict[str, object]:
    url = f"http://127.0.0.1:{up.http}"
    done = farebox("infer", "toy", "--input", path, "--url", url, "--json", *flags)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def variant(answer: dict[str, object]) -> object:
    parameters = answer["parameters"]
    assert isinstance(parameters, dict)
    return parameters["variant"]


def test_a_whole_request_keeps_its_own_parameters_and_flags_win(
    up: Gateway, tmp_path: Path
) -> None:
    path = save(tmp_path, {**REQUEST, "parameters": {"slo_min_accuracy": 0.95}})
    answer = infer(up, path)
    assert variant(answer) == "ref" and answer["id"] == "seven"
    assert variant(infer(up, path, "--slo-min-accuracy", "0.1")) == "low"


def test_values_by_name_and_arrays_are_sent_as_declared(up: Gateway, tmp_path: Path) -> None:
    by_name = infer(up, save(tmp_path, {"x": [[1, 2, 3, 4]]}), "--variant", "mid")
    np.savez(tmp_path / "x.npz", x=np.array([[1, 2, 3, 4]], np.float32))
    by_array = infer(up, tmp_path / "x.npz", "--variant", "mid")
    assert variant(by_name) == variant(by_array) == "mid"
    assert by_name["outputs"] == by_array["outputs"]


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ([1, 2], "neither an OIP request"),
        ({"inputs": [{"name": "x"}]}, "neither an OIP request"),
        ({"y": [1]}, "'y' is unknown: give x"),
        ({"x": {"deep": 1}}, "must be a list"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(
    up: Gateway, tmp_path: Path, document: object, sentence: str
) -> None:
    url = f"http://127.0.0.1:{up.http}"
    done = farebox("infer", "toy", "--input", save(tmp_path, document), "--url", url)
    assert done.returncode == 2 and sentence in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("bound", ["nan", "inf"])
def test_a_bound_that_is_no_number_never_leaves(up: Gateway, tmp_path: Path, bound: str) -> None:
    done = farebox("infer", "toy", "--input", save(tmp_path, REQUEST), "--slo-latency-ms", bound)
    assert done.returncode == 2 and "--slo-latency-ms is" in done.stderr


def test_an_address_without_a_scheme_is_refused(tmp_path: Path) -> None:
    done = farebox("infer", "toy", "--input", save(tmp_path, REQUEST), "--url", "localhost:8000")
    assert done.returncode == 2 and "begin it with http://" in done.stderr
