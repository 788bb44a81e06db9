"""A plan becomes measured variants on the shelf, once, and nothing half done."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tiny_recipe
from msgspec import structs

from compilers import passes, steps
from compilers.build import compile_plan
from compilers.cache import FOLDER
from compilers.digests import code_sha256
from compilers.passes import quantize
from compilers.plan import read_plan
from compilers.progress import Progress
from model_repo import sensitivity
from model_repo.errors import BadInput, Unavailable
from model_repo.findings import read_skips
from model_repo.records import TensorSpec, Variant
from model_repo.store import Store


def compiled(
    folder: Path, store: Store, recipe: str = tiny_recipe.RECIPE, source: str = tiny_recipe.SOURCE
) -> dict[str, str]:
    plan = read_plan(tiny_recipe.write(folder, recipe, source))
    with Progress(len(plan.variants)) as progress:
        return compile_plan(plan, store, progress)


def shelved(store: Store) -> dict[str, Variant]:
    return {variant.key.variant: variant for variant in store.variants("tiny", "1")}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A repository with every variant of the tiny recipe; tests leave it as it is."""
    store = Store(tmp_path_factory.mktemp("repository"))
    assert compiled(tmp_path_factory.mktemp("recipe"), store) == {}
    return store


def test_every_variant_is_shelved_measured_and_sound(store: Store) -> None:
    variants = shelved(store)
    assert sorted(variants) == sorted(tiny_recipe.NAMES)
    for variant in variants.values():
        store.artifact(variant)
        assert variant.profile.source == "measured"
        assert variant.profile.accuracy_samples == 100
        assert [point.batch_size for point in variant.profile.latency] == [1, 4]
        assert len(variant.digest) == 64
    assert [n for n, v in variants.items() if v.kind == "reference"] == ["cpu-fp32"]
    assert variants["cpu-fp32"].profile.accuracy > 0.5


def test_the_signature_is_the_sources(store: Store) -> None:
    model = store.model("tiny", "1")
    assert model.inputs == (TensorSpec("image", "FP32", (-1, 1, 8, 8)),)
    assert model.outputs == (TensorSpec("scores", "FP32", (-1, 10)),)
    assert (model.batches, model.scored_output, len(model.labels)) == (True, "scores", 10)


def test_manifests_say_how_a_variant_was_made(store: Store) -> None:
    variants = shelved(store)
    both = variants["cpu-pruned-int8"]
    assert [step.name for step in both.steps] == ["prune", "quantize"]
    assert both.steps[0].options["importance"] == "taylor"
    assert "prune.validation_accuracy" in both.notes
    assert "source.validation_accuracy" in both.notes
    assert variants["cpu-student"].notes["distill.kept"] in ("taught", "plain")


def test_what_layers_mind_says_what_it_was_measured_with(store: Store) -> None:
    found = sensitivity.read(store, "tiny", "1")
    assert found is not None and (found.rows, found.seed) == (40, 0)
    assert {"onnxruntime", "torch"} <= set(found.versions)
    nodes = {each.layer: each.node for each in found.quantization}
    assert found.pruning and all(each.node == nodes[each.layer] for each in found.pruning)


def test_nothing_tells_where_it_was_made(store: Store, tmp_path: Path) -> None:
    for variant in shelved(store).values():
        raw = store.artifact(variant).read_bytes()
        assert b"/source.py" not in raw and str(tmp_path.parent).encode() not in raw


def test_another_repository_gets_the_same_bytes(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "repository")
    compiled(tmp_path / "recipe", other)
    assert {name: variant.artifact.sha256 for name, variant in shelved(store).items()} == {
        name: variant.artifact.sha256 for name, variant in shelved(other).items()
    }


def test_no_pickle_is_kept(store: Store) -> None:
    suffixes = {path.suffix for path in store.root.rglob("*") if path.is_file()} - {""}
    assert suffixes == {".json", ".onnx", ".safetensors"}


@pytest.fixture
def copied(store: Store, tmp_path: Path) -> Store:
    """A copy of the full repository, to spoil."""
    shutil.copytree(store.root, tmp_path / "copy")
    return Store(tmp_path / "copy")


def test_a_second_compile_changes_nothing(copied: Store, tmp_path: Path) -> None:
    before = copied.fingerprint()
    assert compiled(tmp_path, copied) == {}
    assert copied.fingerprint() == before


def test_a_removed_variant_comes_back_from_the_cache(
    copied: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shelved(copied)
    copied.remove("tiny", "1", "cpu-pruned")
    monkeypatch.setattr(steps, "train", lambda *_: pytest.fail("nothing is to be trained"))
    compiled(tmp_path, copied)
    after = shelved(copied)["cpu-pruned"]  # a busy machine's profile is not kept: see test_profiles
    assert structs.replace(after, profile=before["cpu-pruned"].profile) == before["cpu-pruned"]


def hashes(store: Store) -> dict[str, str]:
    """Of every artifact, each verified."""
    for variant in shelved(store).values():
        store.artifact(variant)
    return {name: variant.artifact.sha256 for name, variant in shelved(store).items()}


@pytest.mark.parametrize(
    "name", ["model.onnx", "artifact.json", "step.json", "weights.safetensors"]
)
def test_a_damaged_cache_is_not_shelved(copied: Store, tmp_path: Path, name: str) -> None:
    before = hashes(copied)
    copied.remove("tiny", "1", "cpu-pruned")
    for path in copied.root.glob(f"{FOLDER}/*/{name}"):
        path.write_bytes(path.read_bytes()[:-9])
    assert compiled(tmp_path, copied) == {}
    assert hashes(copied) == before


def test_a_missing_or_broken_artifact_is_made_again(copied: Store, tmp_path: Path) -> None:
    before, variants = hashes(copied), shelved(copied)
    copied.artifact(variants["cpu-int8"]).unlink()
    copied.artifact(variants["cpu-pruned"]).write_bytes(b"rot")
    assert compiled(tmp_path, copied) == {}
    assert hashes(copied) == before


def test_without_the_cache_nothing_is_missing(copied: Store, tmp_path: Path) -> None:
    shutil.rmtree(copied.root / FOLDER)
    compiled(tmp_path, copied)
    assert not (copied.root / FOLDER).exists()


def test_other_batch_sizes_are_measured_and_nothing_else_is_done(
    copied: Store, tmp_path: Path
) -> None:
    before = shelved(copied)
    compiled(tmp_path, copied, tiny_recipe.RECIPE.replace("[1, 4]", "[1, 2]"))
    for name, variant in shelved(copied).items():
        assert [point.batch_size for point in variant.profile.latency] == [1, 2]
        assert variant.artifact == before[name].artifact


def test_rows_that_sway_each_other_are_measured_one_at_a_time_once(
    copied: Store, tmp_path: Path
) -> None:
    recipe = tiny_recipe.RECIPE + "  dynamic: [quantize: {mode: dynamic}]\n"
    assert compiled(tmp_path / "recipe", copied, recipe) == {}
    latency = shelved(copied)["cpu-dynamic"].profile.latency
    assert [point.batch_size for point in latency] == [1]
    before = copied.fingerprint()
    assert compiled(tmp_path / "recipe", copied, recipe) == {}
    assert copied.fingerprint() == before


@pytest.mark.parametrize(
    ("old", "new"), [("epochs: 3", "epochs: 2"), ("[1, 4]", "[1, 4]\nmetric: agreement")]
)
def test_other_weights_under_a_version_are_refused(
    copied: Store, tmp_path: Path, old: str, new: str
) -> None:
    before = copied.fingerprint()
    with pytest.raises(
        BadInput, match=r"raise 'version'.*farebox remove tiny/1 --repository \S+/copy'"
    ):
        compiled(tmp_path, copied, tiny_recipe.RECIPE.replace(old, new, 1))
    assert copied.fingerprint() == before


def test_two_at_once_are_refused(copied: Store, tmp_path: Path) -> None:
    copied.remove("tiny", "1", "cpu-int8")
    with copied.writing(), pytest.raises(Unavailable, match="another farebox command"):
        compiled(tmp_path, copied)


def test_one_failing_variant_does_not_lose_the_others(
    copied: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no such kernel")

    for name in ("cpu-int8", "cpu-student"):
        copied.remove("tiny", "1", name)
    shutil.rmtree(copied.root / FOLDER)
    monkeypatch.setattr(quantize, "apply", fail)
    failures = compiled(tmp_path, copied)
    assert failures == {"cpu-int8": "ValueError: no such kernel"}
    assert "cpu-student" in shelved(copied) and "cpu-int8" not in shelved(copied)
    said = capsys.readouterr().err
    assert "cpu-int8 failed: ValueError: no such kernel" in said
    assert "Traceback" in said, "a defect shows its place"
    assert "tiny/1/cpu-student: " in said, "what is done is told in a log too"


def test_fidelity_is_measured_against_the_reference(tmp_path: Path) -> None:
    recipe = tiny_recipe.RECIPE.partition("  pruned")[0]
    source = tiny_recipe.SOURCE.replace(", digits.target[:500])", ")")
    recipe = recipe.replace("epochs: 3", "epochs: 0") + "metric: agreement\n"
    store = Store(tmp_path / "repository")
    assert compiled(tmp_path, store, recipe, source) == {}
    assert shelved(store)["cpu-fp32"].profile.accuracy == 1.0
    assert 0.5 < shelved(store)["cpu-int8"].profile.accuracy <= 1.0


@pytest.mark.parametrize(
    ("recipe", "source", "words"),
    [
        (("held_out: 100", "held_out: 450"), ("", ""), "ask for 540 of 500 samples"),
        (("student: student", "student: none"), ("", ""), "variant 'student': distill, .* 'none'"),
        (("model: teacher", "model: none"), ("", ""), "source, model is 'none'"),
        (("", ""), ("digits.target[:500])", "None)"), "gives no labels"),
        (("", ""), ("target[:500]", "target[:500] + 3"), "from 3 to 12, but .* scores 10 classes"),
        (("", ""), ("target[:500]", "target[:500] - 1"), "from -1 to 8, .* from 0 to 9"),
        (("", ""), ("target[:500]", "target[:500] / 2"), "labels are float64, but"),
        (("", ""), ("target[:500]", "target[:500, None]"), "of the shape .* one class number for"),
        (("", ""), ("16 * width", "15 * width"), "does not take the data"),
        (("", ""), ("nn.Flatten(), nn.Linear(16 * width, 10)", "nn.Flatten(0)"), "one row for"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(
    tmp_path: Path, recipe: tuple[str, str], source: tuple[str, str], words: str
) -> None:
    store = Store(tmp_path / "repository")
    with pytest.raises(BadInput, match=words):
        compiled(
            tmp_path,
            store,
            tiny_recipe.RECIPE.replace(*recipe, 1),
            tiny_recipe.SOURCE.replace(*source, 1),
        )
    assert not store.root.exists()


def test_the_pass_in_the_readme_is_one_file_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(passes.__path__[0]).parent / "README.md").read_text(encoding="utf-8")
    code = page.partition("## Add a pass")[2].partition("```python\n")[2].partition("```")[0]
    (tmp_path / "nothing.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(passes, "__path__", [*passes.__path__, str(tmp_path)])
    recipe = tiny_recipe.RECIPE.partition("  int8")[0] + "  same: [nothing]\n"
    store = Store(tmp_path / "repository")
    assert compiled(tmp_path / "recipe", store, recipe) == {}
    assert list(shelved(store)) == ["cpu-fp32"], "the same file twice is of no use"
    (skip,) = read_skips(store, "tiny", "1").values()
    assert skip.reason == "the same file as cpu-fp32" and skip.digest
    with monkeypatch.context() as patch:
        patch.setattr("compilers.build.gather", lambda *_: pytest.fail("nothing is to be done"))
        assert compiled(tmp_path / "recipe", store, recipe) == {}
    assert code_sha256("compilers.passes.nothing") != code_sha256("compilers.passes.absent")
