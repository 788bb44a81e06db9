"""Cascades are found once, shelved where they pay, made again when a stage changes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_recipe
from msgspec import structs

from compilers.build import compile_plan
from compilers.cache import FOLDER
from compilers.cascades import cascading
from compilers.materials import gather
from compilers.plan import read_plan, rows_sway
from compilers.profiling import calls
from compilers.progress import Progress
from model_repo import cascades, confidence, findings, runtime
from model_repo.errors import BadInput
from model_repo.records import PassStep, Variant
from model_repo.store import Store

# The teacher costs some thirty times as much and is trained well, the student hardly.
SOURCE = (
    tiny_recipe.SOURCE.partition("def convolved")[0]
    + """
MODELS = {
    "teacher": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(64, 2048), nn.ReLU(), nn.Linear(2048, 512), nn.ReLU(),
        nn.Linear(512, 10),
    ),
    "student": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),
}
"""
)
RECIPE = (
    tiny_recipe.RECIPE.partition("  int8")[0]
    .replace("held_out: 100", "held_out: 100, conformal: 60")
    .replace("epochs: 3, learning_rate: 0.02", "epochs: 8, learning_rate: 0.003")
    .replace("variants:", "cascades: {risk: 0.02}\nvariants:")
    + "  student: [distill: {student: student, epochs: 8, learning_rate: 0.02}]\n"
)
NAME = "cpu-student-to-fp32"


def compiled(
    folder: Path, store: Store, recipe: str = RECIPE, source: str = SOURCE
) -> dict[str, str]:
    plan = read_plan(tiny_recipe.write(folder, recipe, source))
    with Progress(len(plan.variants)) as progress:
        return compile_plan(plan, store, progress)


def shelved(store: Store) -> dict[str, Variant]:
    return {variant.key.variant: variant for variant in store.variants("tiny", "1")}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A repository with a cascade; tests leave it as it is."""
    store = Store(tmp_path_factory.mktemp("repository"))
    assert compiled(tmp_path_factory.mktemp("recipe"), store) == {}
    assert NAME in shelved(store), findings.read_skips(store, "tiny", "1")
    return store


@pytest.fixture
def copied(store: Store, tmp_path: Path) -> Store:
    """A copy of the repository, to spoil."""
    shutil.copytree(store.root, tmp_path / "copy")
    return Store(tmp_path / "copy")


def test_a_cascade_is_a_variant_that_names_its_stages(store: Store) -> None:
    variant = shelved(store)[NAME]
    found = cascades.read(store, variant)
    assert (found.first, found.second, found.output) == ("cpu-student", "cpu-fp32", "scores")
    assert 0 < found.escalation < 1 and found.threshold > 0
    assert variant.steps[0].options["risk"] == 0.02 and variant.steps[0].options["rows"] == 60
    cascades.stages(found, variant, shelved(store).values())
    cascades.check_output(found, variant, store.model("tiny", "1"))


def test_its_accuracy_is_that_of_the_rows_answered_by_hand(store: Store, tmp_path: Path) -> None:
    materials = gather(read_plan(tiny_recipe.write(tmp_path, RECIPE, SOURCE)), lambda _: None)
    held_out, variants = materials.splits.held_out, shelved(store)
    found = cascades.read(store, variants[NAME])
    scores = {}
    for name in (found.first, found.second):
        path = store.artifact(variants[name])
        session = runtime.load("onnx_graph").open_session(path, materials.model)
        scores[name] = calls.compute(session, materials.model, held_out)["scores"]
        session.close()
    unsure = confidence.margins(scores[found.first]) < found.threshold
    merged = np.where(unsure[:, None], scores[found.second], scores[found.first])
    told = variants[NAME].profile
    assert told.accuracy == (merged.argmax(1) == held_out.labels).mean()
    assert told.accuracy_low < told.accuracy < told.accuracy_high and told.accuracy_samples == 100
    assert found.escalation == unsure.mean()


def test_a_second_compile_changes_nothing(
    copied: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = copied.fingerprint()
    monkeypatch.setattr("compilers.build.gather", lambda *_: pytest.fail("nothing is to be done"))
    assert compiled(tmp_path, copied) == {}
    assert copied.fingerprint() == before


def test_another_repository_gets_the_same_bytes(copied: Store, tmp_path: Path) -> None:
    before = shelved(copied)[NAME]
    shutil.rmtree(copied.root)
    compiled(tmp_path, copied)
    after = shelved(copied)[NAME]
    assert (after.artifact, after.digest) == (before.artifact, before.digest)


def test_what_was_removed_or_broken_comes_back(copied: Store, tmp_path: Path) -> None:
    before = shelved(copied)[NAME]
    copied.remove("tiny", "1", NAME)
    assert compiled(tmp_path, copied) == {}
    assert shelved(copied)[NAME] == before
    copied.artifact(before).write_bytes(b"rot")
    assert compiled(tmp_path, copied) == {}
    assert copied.artifact(shelved(copied)[NAME])


def test_without_the_cache_it_is_found_again(copied: Store, tmp_path: Path) -> None:
    before = shelved(copied)[NAME]
    shutil.rmtree(copied.root / FOLDER)
    assert compiled(tmp_path, copied) == {}
    assert shelved(copied)[NAME] == before


def test_another_risk_makes_another_cascade(copied: Store, tmp_path: Path) -> None:
    before = shelved(copied)[NAME]
    assert compiled(tmp_path, copied, RECIPE.replace("risk: 0.02", "risk: 0.04")) == {}
    after = shelved(copied)[NAME]
    assert after.digest != before.digest and after.steps[0].options["risk"] == 0.04
    assert after.profile.latency[-1].device_s < before.profile.latency[-1].device_s


def test_a_cascade_that_is_no_longer_chosen_goes(copied: Store, tmp_path: Path) -> None:
    # So much risk that nothing goes on: the first stage alone is as good.
    assert compiled(tmp_path, copied, RECIPE.replace("risk: 0.02", "risk: 0.9")) == {}
    assert NAME not in shelved(copied)
    (skip,) = findings.read_skips(copied, "tiny", "1").values()
    assert skip.reason == (
        "1 of 1 pairs do not pay, by validation rows; the closest: cpu-student-to-fp32: its first "
        "stage alone is within the risk"
    )
    assert skip.digest, "it is settled"


def test_pairs_may_be_named(copied: Store, tmp_path: Path) -> None:
    named = RECIPE.replace("risk: 0.02", "risk: 0.02, pairs: [[cpu-fp32, cpu-student]]")
    assert compiled(tmp_path, copied, named) == {}
    assert NAME not in shelved(copied), "it is not asked for"
    (skip,) = findings.read_skips(copied, "tiny", "1").values()
    assert "cpu-fp32-to-student" in skip.reason


@pytest.mark.parametrize("pair", ["[cpu-fp32, cpu-none]", "[cpu-fp32, cpu-fp32]", "[cpu-fp32]"])
def test_a_pair_of_nothing_is_refused_before_anything_runs(
    copied: Store, tmp_path: Path, pair: str
) -> None:
    recipe = RECIPE.replace("risk: 0.02", f"risk: 0.02, pairs: [{pair}]")
    with pytest.raises(BadInput, match="pairs"):
        compiled(tmp_path, copied, recipe)


def test_outputs_that_say_no_margin_fail_in_a_sentence_and_lose_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Answers [n, 5, 2] have no two best scores; agreement takes them all the same.
    store = Store(tmp_path / "repository")
    recipe = RECIPE.replace("epochs: 8", "epochs: 0").partition("  student")[0]
    recipe = recipe.replace("variants:", "metric: agreement\nvariants:")
    recipe = recipe.replace("{risk: 0.02}", "{risk: 0.02, pairs: [[cpu-fp32, cpu-other]]}")
    source = SOURCE.replace("nn.Linear(512, 10),", "nn.Linear(512, 10), nn.Unflatten(1, (5, 2)),")
    source = source.replace(", digits.target[:500])", ")")
    failures = compiled(tmp_path / "recipe", store, recipe + "  other: [quantize]\n", source)
    assert list(failures) == [cascading.ALL]
    assert "does not say how sure the model is" in failures[cascading.ALL]
    assert "cascades failed: " in capsys.readouterr().err
    assert list(shelved(store)) == ["cpu-fp32", "cpu-other"]
    assert findings.read_skips(store, "tiny", "1")[cascading.ALL].digest == ""


def test_a_variant_whose_rows_sway_each_other_is_no_stage(store: Store) -> None:
    plain = shelved(store)["cpu-fp32"]
    for mode in ("static", "dynamic"):
        made = structs.replace(plain, steps=(PassStep("quantize", {"mode": mode}),))
        assert rows_sway(made.steps) == (mode == "dynamic") and not rows_sway(plain.steps)


def test_agreement_is_judged_by_the_reference(tmp_path: Path) -> None:
    store = Store(tmp_path / "repository")
    recipe = RECIPE.replace("variants:", "metric: agreement\nvariants:")
    assert compiled(tmp_path / "recipe", store, recipe) == {}
    variants = shelved(store)
    assert variants[NAME].profile.accuracy > variants["cpu-student"].profile.accuracy
