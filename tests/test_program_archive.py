"""A torch program is loaded only if loading it runs no code: each way to run some is refused."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from compilers.forms import TorchModel
from compilers.gpu import program
from model_repo.errors import Corrupt
from model_repo.program_archive import MODEL, ROOT, SAMPLES, SETTINGS, Settings, read_settings
from model_repo.records import Model, TensorSpec

MODEL_OF_4 = Model(
    "m", "1", (TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", (-1, 3)),), True
)
CONFIG = "data/weights/model_weights_config.json"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("program") / "model.pt2"
    network = nn.Sequential(nn.Linear(4, 3), nn.Softmax(1))
    program.write(TorchModel("net", network), MODEL_OF_4, Settings("tf32", "eager"), path)
    with zipfile.ZipFile(path) as file:
        return {name.removeprefix(ROOT): file.read(name) for name in file.namelist()}


def written(path: Path, parts: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in parts.items():
            file.writestr(ROOT + name, data)
    return path


def test_a_program_of_ours_says_how_it_is_run(parts: dict[str, bytes], tmp_path: Path) -> None:
    assert read_settings(written(tmp_path / "a.pt2", parts)) == Settings("tf32", "eager")
    assert not any(data[:2] == b"\x80\x02" or name.endswith(".pkl") for name, data in parts.items())


def node(change: dict[str, Any]) -> Callable[[Any], None]:
    return lambda model: model["graph_module"]["graph"]["nodes"][0].update(change)


def expression(text: str) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        model["graph_module"]["graph"]["tensor_values"]["x"] = {"sizes": [{"expr_str": text}]}

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (node({"target": "torch.os.system"}), "only operators of ATen"),
        (node({"target": "torch.ops.aten.relu.default.__globals__"}), "only operators of ATen"),
        (node({"target": "torch.hub.load"}), "only operators of ATen"),
        (node({"target": "_operator.attrgetter"}), "only operators of ATen"),
        (node({"target": "#custom:op"}), "only operators of ATen"),
        (node({"metadata": {"source_fn_stack": "a,torch.os"}}), "a node has metadata"),
        (node({"inputs": [{"arg": {"as_operator": "torch.os.system"}}]}), "as_operator"),
        (node({"inputs": [{"arg": {"as_custom_obj": {}}}]}), "as_custom_obj"),
        (expression("__import__('os').system('true')"), "is no arithmetic"),
        (expression("Symbol('s0', commutative=True)"), "is no arithmetic"),
        (expression("Lambda(1)"), "is no arithmetic"),
        (lambda model: model.update(guards_code=["print(1)"]), "holds guards"),
        (
            lambda model: model["graph_module"].update(metadata={"a": "b"}),
            "holds guards or metadata",
        ),
        (
            lambda model: model.update(in_spec='[1, {"type": "collections.defaultdict"}]'),
            "grouped by 'collections.defaultdict'",
        ),
    ],
)
def test_a_graph_that_would_run_code_is_refused(
    parts: dict[str, bytes], tmp_path: Path, change: Callable[[Any], None], reason: str
) -> None:
    model = json.loads(parts[MODEL])
    change(model)
    path = written(tmp_path / "a.pt2", {**parts, MODEL: json.dumps(model).encode()})
    with pytest.raises(Corrupt, match=reason):
        read_settings(path)


class Bomb:
    def __reduce__(self) -> Any:
        return (print, ("boom",))


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        (SAMPLES, pickle.dumps(Bomb()), "sample inputs, which torch would unpickle"),
        ("data/weights/model.pt", b"", "programs hold no such file"),
        ("data/constants/custom_obj_0", b"", "programs hold no such file"),
        ("data/aotinductor/model/a.so", b"", "programs hold no such file"),
        ("../evil", b"", "programs hold no such file"),
        (SETTINGS, b'{"precision": "fp4"}', "fp4"),
        (MODEL, b"{", "no torch.export program"),
    ],
)
def test_a_file_that_would_run_code_is_refused(
    parts: dict[str, bytes], tmp_path: Path, name: str, data: bytes, reason: str
) -> None:
    with pytest.raises(Corrupt, match=reason):
        read_settings(written(tmp_path / "a.pt2", {**parts, name: data}))


@pytest.mark.parametrize("change", [{"use_pickle": True}, {"path_name": "custom_obj_0"}])
def test_a_weight_that_would_be_unpickled_is_refused(
    parts: dict[str, bytes], tmp_path: Path, change: dict[str, Any]
) -> None:
    config = json.loads(parts[CONFIG])
    next(iter(config["config"].values())).update(change)
    path = written(tmp_path / "a.pt2", {**parts, CONFIG: json.dumps(config).encode()})
    with pytest.raises(Corrupt, match="is no plain tensor"):
        read_settings(path)


def test_a_file_that_stands_twice_is_refused(parts: dict[str, bytes], tmp_path: Path) -> None:
    path = written(tmp_path / "a.pt2", parts)
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr(ROOT + MODEL, b"{}")
    with pytest.raises(Corrupt, match="stands in it twice"):
        read_settings(path)


def test_what_is_no_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pt2").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(Corrupt, match=r"no torch\.export program of ours"):
        read_settings(tmp_path / "a.pt2")
