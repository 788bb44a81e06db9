"""One model is made in every format of its target, and shelved in those that are worth it."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_recipe

from compilers import build, digests
from compilers.build import STOPPED, compile_plan
from compilers.contracts import Job
from compilers.passes import distill
from compilers.plan import read_plan
from compilers.profiling import host, race, timing
from compilers.progress import Progress
from compilers.targets import cpu
from model_repo.cli import main
from model_repo.errors import BadInput, FareboxError, MissingExtra, Unsupported
from model_repo.findings import note_skip, read_skips
from model_repo.records import Artifact, Skip
from model_repo.store import Store

RECIPE = tiny_recipe.RECIPE.partition("  int8")[0].replace("formats: [onnx_graph]\n", "")
RECIPE += "  student: [distill: {student: student, epochs: 1}]\n"
REFERENCE, STUDENT = "cpu-fp32", "cpu-student"
ALL = [REFERENCE, f"{REFERENCE}-openvino", STUDENT, f"{STUDENT}-openvino"]
Judge = Callable[..., race.Times]


def compiled(folder: Path, store: Store, recipe: str = RECIPE) -> dict[str, str]:
    plan = read_plan(tiny_recipe.write(folder, recipe))
    with Progress(len(plan.variants)) as progress:
        return compile_plan(plan, store, progress)


def names(store: Store) -> list[str]:
    return [key.variant for key in store.keys("tiny", "1")]


def skips(store: Store) -> dict[str, Skip]:
    return read_skips(store, "tiny", "1")


def won_by(suffix: str) -> Judge:
    """A race whose winner is known; every other entrant costs twice as much."""

    def run(entrants: race.Entrants, *_: object) -> race.Times:
        return {name: {1: 1.0 if name.endswith(suffix) else 2.0} for name in entrants}

    return run


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A repository where no format beats another; tests leave it as it is."""
    store = Store(tmp_path_factory.mktemp("repository"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(race, "run", lambda entrants, *_: {name: {1: 1.0} for name in entrants})
        patch.setattr(timing, "SPAN_S", 0.0)
        patch.setattr(timing, "LIMIT_S", 0.0)
        assert compiled(tmp_path_factory.mktemp("recipe"), store) == {}
    return store


@pytest.fixture
def store(drawn: Store, tmp_path: Path) -> Store:
    """A copy of it, to spoil, with every step in its cache and two variants left to make."""
    shutil.copytree(drawn.root, tmp_path / "copy")
    store = Store(tmp_path / "copy")
    store.remove("tiny", "1", ALL[1])
    store.remove("tiny", "1", ALL[3])
    return store


def test_every_format_is_shelved_under_a_name_of_its_own(drawn: Store) -> None:
    assert names(drawn) == sorted(ALL)
    found = {name: drawn.variants("tiny", "1")[i] for i, name in enumerate(sorted(ALL))}
    assert [found[name].kind for name in ALL] == ["reference", "variant", "variant", "variant"]
    assert found[ALL[1]].artifact.format == "openvino_ir"
    for name in (REFERENCE, STUDENT):
        one, other = found[name], found[f"{name}-openvino"]
        assert one.profile.accuracy == other.profile.accuracy and one.steps == other.steps
        assert one.digest != other.digest
    assert skips(drawn) == {}


def test_other_repositories_get_the_same_bytes(drawn: Store, tmp_path: Path) -> None:
    again = Store(tmp_path / "repository")
    compiled(tmp_path / "recipe", again, RECIPE.partition("  student")[0])
    ours = {v.key.variant: v.artifact.sha256 for v in drawn.variants("tiny", "1")}
    theirs = {v.key.variant: v.artifact.sha256 for v in again.variants("tiny", "1")}
    assert theirs and theirs.items() <= ours.items()


def test_what_lost_its_race_is_not_shelved_nor_raced_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(race, "run", won_by("student"))
        assert compiled(tmp_path, store) == {}
    assert names(store) == [REFERENCE, ALL[1], STUDENT], "who costs the same stays"
    (name, skip), *others = skips(store).items()
    assert (name, others) == (ALL[3], [])
    assert skip.reason == "dearer than cpu-student at every batch size tried: 2.0x at 1"
    before = store.fingerprint()
    monkeypatch.setattr(build, "gather", lambda *_: pytest.fail("there is nothing to do"))
    assert compiled(tmp_path, store) == {}
    assert store.fingerprint() == before and skips(store) == {name: skip}


def test_what_lost_to_a_format_that_is_no_longer_made_is_made(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(race, "run", won_by("student"))
        compiled(tmp_path, store)
    assert ALL[3] not in names(store)
    store.remove("tiny", "1", STUDENT)
    alone = RECIPE.replace("variants:", "formats: [openvino_ir]\nvariants:")
    assert compiled(tmp_path, store, alone) == {}
    assert names(store) == [REFERENCE, ALL[1], ALL[3]] and skips(store) == {}


@pytest.mark.parametrize("other", ["machine", "sizes"])
def test_elsewhere_and_at_other_sizes_it_is_raced_again(
    other: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(race, "run", won_by("student"))
    compiled(tmp_path, store)
    recipe = RECIPE
    if other == "machine":
        monkeypatch.setattr(host, "machine", lambda: "another one")
    else:
        recipe = RECIPE.replace("[1, 4]", "[1, 2]")
    monkeypatch.setattr(race, "run", won_by("openvino"))
    assert compiled(tmp_path, store, recipe) == {}
    assert ALL[3] in names(store) and skips(store) == {}


def test_neither_the_reference_nor_what_is_shelved_is_dropped(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(race, "run", won_by("openvino"))
    store.remove("tiny", "1", REFERENCE)
    compiled(tmp_path, store)
    assert names(store) == sorted(ALL)


def test_a_race_that_cannot_be_run_drops_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise FareboxError("out of memory")

    monkeypatch.setattr(race, "run", fail)
    assert compiled(tmp_path, store) == {}
    assert names(store) == sorted(ALL)


def refuse(error: Exception) -> Callable[[Any, str, Path, Job], Artifact]:
    """A target that refuses one of its formats."""
    lower = cpu.lower

    def refusing(model: Any, artifact_format: str, folder: Path, job: Job) -> Artifact:
        if artifact_format == "openvino_ir":
            raise error
        return lower(model, artifact_format, folder, job)

    return refusing


def test_a_format_that_cannot_hold_a_model_is_settled_and_no_failure(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(store.root / ".build")
    monkeypatch.setattr(cpu, "lower", refuse(Unsupported("no operator of that kind")))
    assert compiled(tmp_path, store) == {}
    assert names(store) == [REFERENCE, STUDENT]
    assert {skip.reason for skip in skips(store).values()} == {"no operator of that kind"}
    monkeypatch.setattr(build, "gather", lambda *_: pytest.fail("there is nothing to do"))
    assert compiled(tmp_path, store) == {}


def test_a_failure_is_kept_on_the_shelf_and_tried_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(store.root / ".build")
    with monkeypatch.context() as patch:
        patch.setattr(cpu, "lower", refuse(BadInput("the answers differ")))
        assert compiled(tmp_path, store) == dict.fromkeys(ALL[1::2], "the answers differ")
    assert skips(store) == dict.fromkeys(ALL[1::2], Skip("the answers differ"))
    monkeypatch.setattr(race, "run", won_by("openvino"))
    assert compiled(tmp_path, store) == {}
    assert names(store) == sorted(ALL) and skips(store) == {}


def without(library: str) -> Callable[[str], str]:
    version = digests.metadata.version

    def missing(name: str) -> str:
        if name == library:
            raise digests.metadata.PackageNotFoundError(name)
        return version(name)

    return missing


def test_a_format_without_its_extra_is_left_out_in_words(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests.metadata, "version", without("openvino"))
    digests._version.cache_clear()
    try:
        assert compiled(tmp_path, store) == {}
        assert names(store) == [REFERENCE, STUDENT]
        for skip in skips(store).values():
            assert "'openvino', which is not installed: pip install 'farebox[" in skip.reason
            assert skip.digest == ""
        monkeypatch.setattr(build, "gather", lambda *_: pytest.fail("there is nothing to do"))
        assert compiled(tmp_path, store) == {}
    finally:
        digests._version.cache_clear()


def test_the_reference_without_its_extra_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests.metadata, "version", without("onnx"))
    digests._version.cache_clear()
    try:
        with pytest.raises(MissingExtra, match="'onnx'"):
            compiled(tmp_path, Store(tmp_path / "repository"))
    finally:
        digests._version.cache_clear()


def test_a_full_disk_ends_it_in_one_sentence_and_nothing_is_half_there(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.rmtree(store.root / ".build")
    before = names(store)
    full = RuntimeError("cannot serialize")
    full.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(cpu, "lower", refuse(full))
    recipe = tiny_recipe.write(tmp_path / "recipe", RECIPE)
    assert main(["compile", str(recipe), "--repository", str(store.root)]) == 1
    told = capsys.readouterr().err
    assert told == (
        f"farebox compile: {store.root} cannot be written: No space left on device; "
        "make room and run the command again\n"
    )
    assert names(store) == before
    assert {skip.reason for skip in skips(store).values()} == {STOPPED}
    assert not list((store.root / ".build").glob(".partial-*"))


def test_a_stale_reason_goes_once_a_variant_is_shelved(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note_skip(store, "tiny", "1", ALL[1], Skip("an old reason", "of something else"))
    monkeypatch.setattr(race, "run", won_by("openvino"))
    compiled(tmp_path, store)
    assert not (store.root / "tiny" / "1" / "skipped.json").exists()


def test_a_reason_goes_with_the_variant_that_the_recipe_no_longer_has(
    drawn: Store, tmp_path: Path
) -> None:
    shutil.copytree(drawn.root, tmp_path / "copy")
    store, kept = Store(tmp_path / "copy"), ["cascades", "cpu-found-student-1a2b"]
    for name in ["cpu-gone", "cpu-gone-openvino", *kept]:
        note_skip(store, "tiny", "1", name, Skip("an old reason", "of something else"))
    assert compiled(tmp_path, store) == {}
    assert list(skips(store)) == kept, "those of a search and of cascades stay"


def test_a_pass_that_fails_is_not_run_again_for_the_other_format(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.remove("tiny", "1", STUDENT)
    shutil.rmtree(store.root / ".build")
    runs: list[object] = []

    def fail(model: object, *_: object) -> None:
        runs.append(model)
        raise BadInput("no such student")

    monkeypatch.setattr(distill, "apply", fail)
    assert compiled(tmp_path, store) == dict.fromkeys(ALL[2:], "no such student")
    assert len(runs) == 1
