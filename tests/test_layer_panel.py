"""What layers mind is kept beside the signature, said in the report, and drawn below the costs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shelf import shelve
from test_picture import TABLE, size_of

from model_repo import layer_panel, picture, sensitivity
from model_repo.cli import main
from model_repo.errors import Corrupt, NotFound
from model_repo.names import SENSITIVITY
from model_repo.sensitivity import LayerLoss, Sensitivity
from model_repo.store import Store

FEW = Sensitivity(
    "accuracy",
    (LayerLoss("stem", 0.3, "node_1"), LayerLoss("body", 0.1, "node_2")),
    (LayerLoss("stem", 0.0),),
)
MANY = Sensitivity("cosine", tuple(LayerLoss(f"layers.{i}.mix", i / 99) for i in range(60)))


@pytest.mark.parametrize("layers", [FEW, MANY])
def test_the_picture_grows_by_the_bars(layers: Sensitivity, tmp_path: Path) -> None:
    picture.draw([TABLE], "prices", tmp_path / "x.png", [layers])
    assert size_of(tmp_path / "x.png") == (1200, 800 + layer_panel.height(layers))


def test_only_the_worst_of_many_layers_are_drawn_in_their_order() -> None:
    drawn = layer_panel._most_sensitive(MANY.quantization)
    assert len(drawn) == layer_panel.MOST and drawn == list(MANY.quantization[-len(drawn) :])
    assert layer_panel.height(MANY) < 1000


def test_models_whose_layers_are_not_known_take_no_room(tmp_path: Path) -> None:
    picture.draw([TABLE, TABLE], "prices", tmp_path / "x.png", [None, Sensitivity("accuracy")])
    assert size_of(tmp_path / "x.png") == (1800, 600)


def test_the_report_names_the_worst_layers_and_draws_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "shelf")
    key = shelve(store, "cpu-fp32", kind="reference").key
    assert sensitivity.read(store, key.model, key.version) is None
    sensitivity.write(store, key.model, key.version, FEW)
    assert sensitivity.read(store, key.model, key.version) == FEW
    picture_path = tmp_path / "x.png"
    assert main(["report", "--repository", str(store.root), "--png", str(picture_path)]) == 0
    said = capsys.readouterr().out
    assert "most sensitive layers: to int8 stem, body; to pruning stem\n" in said
    assert size_of(picture_path)[1] > 800
    assert main(["report", "--json", "--repository", str(store.root)]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["sensitivity"]["pruning"] == [{"layer": "stem", "loss": 0.0, "node": ""}]
    store.remove(key.model, key.version, key.variant)
    with pytest.raises(NotFound):
        sensitivity.read(store, key.model, key.version)


def test_a_file_that_does_not_say_how_it_was_measured_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path / "shelf")
    key = shelve(store, "cpu-fp32", kind="reference").key
    path = store.place(key.model, key.version) / SENSITIVITY
    path.write_text('{"metric": "accuracy", "quantization": [{"layer": "a", "loss": 1}]}')
    found = sensitivity.read(store, key.model, key.version)
    assert found == Sensitivity("accuracy", (LayerLoss("a", 1.0),)) and not found.rows


def test_a_broken_file_is_said_and_hides_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "shelf")
    key = shelve(store, "cpu-fp32", kind="reference").key
    (store.place(key.model, key.version) / SENSITIVITY).write_text("{")
    with pytest.raises(Corrupt):
        sensitivity.read(store, key.model, key.version)
    assert main(["report", "--repository", str(store.root)]) == 0
    said = capsys.readouterr()
    assert key.variant in said.out and "sensitivity.json cannot be read" in said.err
