"""Cascades on the shelf: what is read, what is refused and in which words, what can be served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import staged
from builders import TOY, cascade, shelve, shelve_cascade, variant
from msgspec.structs import replace

from model_repo import cascades
from model_repo.cli import main
from model_repo.errors import Corrupt
from model_repo.records import Cascade, TensorSpec, Variant
from model_repo.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return shelve(tmp_path / "r", variant("ref"), variant("low"))


def shelved(store: Store, **more: Any) -> Variant:
    return shelve_cascade(store, "cas", "low", "ref", **more)


def test_what_was_shelved_is_read(store: Store) -> None:
    made = shelved(store, threshold=0.25, escalation=0.1)
    found = cascades.read(store, made)
    assert (found.first, found.second, found.threshold) == ("low", "ref", 0.25)
    names = [s.key.variant for s in cascades.stages(found, made, store.variants("toy", "1"))]
    assert names == ["low", "ref"]


def test_a_changed_file_is_not_read(store: Store) -> None:
    made = shelved(store)
    path = store.folder(made.key) / made.artifact.path
    path.write_bytes(path.read_bytes().replace(b"0.5", b"0.4"))
    with pytest.raises(Corrupt, match="is not the file that was measured"):
        cascades.read(store, made)


def test_what_is_no_cascade_is_not_read(store: Store) -> None:
    made = shelved(store)
    with pytest.raises(Corrupt, match="format is 'onnx' and not 'cascade'"):
        cascades.read(store, replace(made, artifact=replace(made.artifact, format="onnx")))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"escalation": 1.5}, r"its escalation is 1\.5"),
        ({"threshold": -0.1}, r"its threshold is -0\.1, a finite number from 0"),
        ({"threshold": float("inf")}, "cannot be read"),
        ({"second": "low"}, "its stages are both 'low', two variants were expected"),
    ],
)
def test_numbers_and_stages_that_make_no_cascade_are_not_read(
    store: Store, wrong: dict[str, Any], sentence: str
) -> None:
    made = shelve_cascade(store, "cas", **{"first": "low", "second": "ref"} | wrong)
    with pytest.raises(Corrupt, match=sentence):
        cascades.read(store, made)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"first": "gone"}, "toy/1/cas: its stage 'gone' is not there"),
        ({"second": "cas"}, "its stage 'cas' is itself a cascade"),
        ({"first_sha256": "0"}, "'low' is another artifact than the one it was calibrated with"),
        ({"second_sha256": "0"}, "'ref' is another artifact"),
    ],
)
def test_a_stage_it_was_not_calibrated_with_is_told(
    store: Store, wrong: dict[str, Any], sentence: str
) -> None:
    made = shelved(store)
    found: Cascade = replace(cascades.read(store, made), **wrong)
    with pytest.raises(Corrupt, match=sentence):
        cascades.stages(found, made, store.variants("toy", "1"))


@pytest.mark.parametrize(
    "model",
    [
        replace(TOY, batches=False),
        replace(TOY, outputs=(TensorSpec("z", "FP32", (-1, 2)),)),
        replace(TOY, outputs=(TensorSpec("y", "FP32", (-1,)),)),
        replace(TOY, outputs=(TensorSpec("y", "FP32", (-1, 1)),)),
    ],
)
def test_an_output_that_tells_no_doubt_is_refused(model: Any) -> None:
    made, found = variant("cas"), cascade("low", "ref")
    cascades.check_output(found, made, TOY)
    with pytest.raises(Corrupt, match="it judges by scores"):
        cascades.check_output(found, made, model)


def test_it_is_servable_where_both_stages_are(store: Store) -> None:
    made = shelved(store)
    others = store.variants("toy", "1")
    assert all(cascades.is_servable(store, each, others) for each in others)
    far = [
        replace(each, artifact=replace(each.artifact, format="nowhere"))
        if each.key.variant == "low"
        else each
        for each in others
    ]
    assert not cascades.is_servable(store, made, far)
    assert not cascades.is_servable(store, made, [])


def test_report_list_and_verify_know_it(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    made = shelved(store)
    place = ("--repository", str(store.root))
    assert main(["report", "--json", *place]) == 0
    rows = {row["variant"]: row for row in msgspec.json.decode(capsys.readouterr().out)}
    assert rows["cas"]["kind"] == "cascade" and rows["cas"]["servable"]
    assert main(["list", *place]) == main(["verify", *place]) == 0
    out = capsys.readouterr().out
    assert "3 sound, 0 broken" in out
    line = next(line for line in out.splitlines() if line.startswith("toy/1/cas"))
    assert f"{store.artifact(made).stat().st_size} B  low -> ref" in line
    shelve(store.root, variant("low"), times={"low": {"fill": 1.0}})
    assert main(["report", "--json", *place]) == 0
    rows = {row["variant"]: row for row in msgspec.json.decode(capsys.readouterr().out)}
    assert not rows["cas"]["servable"] and rows["low"]["servable"]
    assert not rows["cas"]["is_sound"] and rows["low"]["is_sound"]
    assert main(["report", *place]) == 0
    out = capsys.readouterr().out
    assert "not servable here" not in out and "stage changed: a stage of the cascade is" in out
    assert any("cas " in line and line.endswith("stage changed") for line in out.splitlines())
    assert main(["verify", *place]) == 1
    assert "another artifact than the one it was calibrated with" in capsys.readouterr().err


def test_what_others_need_is_not_removed_in_silence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = staged.shelve(tmp_path / "r", 1.0)
    place = ("--repository", str(there.root))
    assert main(["remove", "staged/1/ref", *place]) == 2
    assert "remove the whole version, farebox remove staged/1\n" in capsys.readouterr().err
    assert len(there.keys("staged", "1")) == 3
    assert main(["remove", "staged/1/low", *place]) == 0
    told = capsys.readouterr()
    assert told.out == "removed 1 variant of staged/1/low\n"
    assert "staged/1/cas is not served any more: staged/1/low is its stage" in told.err
    assert main(["remove", "staged/1/cas", *place]) == main(["remove", "staged/1/ref", *place]) == 0
    assert there.versions() == [] and not capsys.readouterr().err
