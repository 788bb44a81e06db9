"""A source module is used as it is, or refused in one sentence."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import tiny_recipe
import torch

from compilers.source import load_source, sha256_of_source
from model_repo.errors import BadInput, MissingExtra

HEAD = "from compilers.datasets import Data\nimport numpy as np\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "source.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_loads_networks_data_and_hints(tmp_path: Path) -> None:
    source = load_source(written(tmp_path, tiny_recipe.SOURCE))
    assert sorted(source.models) == ["student", "teacher"]
    assert (source.output, len(source.labels), source.augment) == ("scores", 10, None)
    assert len(source.read()) == 500


def test_first_weights_follow_the_seed_alone(tmp_path: Path) -> None:
    source = load_source(written(tmp_path, tiny_recipe.SOURCE))
    torch.manual_seed(99)
    first = source.build("student", 3)
    following = torch.rand(1)
    torch.manual_seed(99)
    assert torch.equal(following, torch.rand(1)), "building must not move the global draws"
    again, other = source.build("student", 3), source.build("student", 4)
    weights = [dict(net.named_parameters())["1.weight"] for net in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_an_unknown_network_is_named_with_those_there_are(tmp_path: Path) -> None:
    source = load_source(written(tmp_path, tiny_recipe.SOURCE))
    with pytest.raises(BadInput, match=r"student is 'huge'.*MODELS are student, teacher"):
        source.check_model("huge", "student")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MODELS = {}", "has no data: define it, a function"),
        ("def data(): pass", "has no MODELS: define it, a dict"),
        ("MODELS = 3\ndef data(): pass", "has MODELS = 3: make it a dict of network name"),
        ("MODELS = {'a': 1}\ndef data(): pass", "make it a dict of network name"),
        ("MODELS = {}\ndata = 1", "has data = 1: make it a function"),
        ("MODELS = {}\ndef data(): pass\nLABELS = 3", "make it a tuple of strings"),
        ("MODELS = {}\ndef data(): pass\nOUTPUT = 3", "has OUTPUT = 3: make it a string"),
        ("MODELS = {}\ndef data(): pass\naugment = 3", "has augment = 3: make it a function"),
        ("raise SystemExit", "raised SystemExit"),
        ("1 / 0", "raised ZeroDivisionError: division by zero"),
        ("def (", "raised SyntaxError"),
        ("import surely_not_there", "needs 'surely_not_there': install it"),
    ],
)
def test_refuses_a_module_it_cannot_use(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        load_source(written(tmp_path, text))


def test_a_missing_library_of_ours_names_the_extra(tmp_path: Path) -> None:
    path = written(tmp_path, "raise ModuleNotFoundError(name='torch')")
    with pytest.raises(MissingExtra, match=r"'torch'.*farebox\[compile\]"):
        load_source(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def data(): return 3", "gives int: return a Data"),
        ("def data(): return Data({})", "gives its inputs as {}: give a dict"),
        ("def data(): raise ValueError('no disk')", "raised ValueError: no disk"),
        ("def data(): return Data({'x': np.zeros((3, 2))}, np.zeros(2))", "equally many"),
        ("def data(): return Data({'x': [[1.0], [2.0]]})", "gives 'x' as list: give a NumPy array"),
        ("def data(): return Data({'x': np.float32(1)})", "gives 'x' as float32"),
        ("def data(): return Data({'x': np.array(1)})", "with one row for each sample"),
        ("def data(): return Data({'x': np.ones(2)}, [0, 1])", "gives 'labels' as list"),
        ("def data(): return Data([1])", r"gives its inputs as \[1\]: give a dict"),
        (
            "def data(): return Data({'a': np.ones(6), 'x': np.array([[0, 1], [1, np.nan]] * 3)})",
            "3 of 6 rows with NaN or infinity in 'x', the first of them row 1, counted from 0",
        ),
    ],
)
def test_refuses_data_it_cannot_use(tmp_path: Path, text: str, message: str) -> None:
    source = load_source(written(tmp_path, f"{HEAD}MODELS = {{}}\n{text}"))
    with pytest.raises(BadInput, match=message):
        source.read()


def test_refuses_a_network_that_is_none(tmp_path: Path) -> None:
    source = load_source(written(tmp_path, "MODELS = {'a': dict}\ndef data(): pass"))
    with pytest.raises(BadInput, match=r"MODELS\['a'\].* gives dict: return a torch.nn.Module"):
        source.build("a", 0)


def test_a_missing_module_is_refused_unrun(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        sha256_of_source(tmp_path / "none.py")


def test_a_recipe_that_ships_and_is_imported_counts_as_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "from compilers.recipes.digits.source import teacher\n")
    assert sha256_of_source(path) != hashlib.sha256(path.read_bytes()).hexdigest()
    before = sha256_of_source(path)
    monkeypatch.setattr("compilers.source.code_sha256", lambda name: f"changed {name}")
    assert sha256_of_source(path) != before
    broken = written(tmp_path, "no python at all")
    assert sha256_of_source(broken) == hashlib.sha256(broken.read_bytes()).hexdigest()
