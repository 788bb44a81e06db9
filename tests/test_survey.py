"""One thing that cannot be read hides nothing else: it is left out and said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import shelf
from msgspec import structs

from model_repo.cli import main
from model_repo.names import MANIFEST, SIGNATURE
from model_repo.records import VariantKey
from model_repo.store import Store


def break_signature(store: Store) -> None:
    (store.root / "other/1" / SIGNATURE).write_text('{"name": ')


def break_manifest(store: Store) -> None:
    (store.folder(VariantKey("other", "1", "cpu-fp32")) / MANIFEST).write_text("{}")


def copy_model(store: Store) -> None:
    shutil.copytree(store.root / "digits", store.root / "digits copy")


def copy_under_another_name(store: Store) -> None:
    shutil.copytree(store.root / "digits", store.root / "digits2")


def copy_variant(store: Store) -> None:
    folder = store.folder(VariantKey("other", "1", "cpu-fp32"))
    shutil.copytree(folder, folder.with_name("cpu fp32"))


def lose_profile(store: Store) -> None:
    made = store.variant(VariantKey("other", "1", "cpu-fp32"))
    blank = structs.replace(made, profile=structs.replace(made.profile, latency=()))
    store.commit(blank, store.artifact(made))


@pytest.mark.parametrize(
    ("harm", "word", "sound"),
    [
        (break_signature, "model.json cannot be read", 2),
        (break_manifest, "variant.json cannot be read", 2),
        (copy_model, "'digits copy' is not allowed", 3),
        (copy_under_another_name, "is the signature of digits/1, not of digits2/1", 3),
        (copy_variant, "'cpu fp32' is not allowed", 3),
        (lose_profile, "measured at the batch sizes []", 2),
    ],
)
def test_one_broken_thing_is_a_line_on_stderr_and_hides_nothing(
    harm: Callable[[Store], None],
    word: str,
    sound: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store, where = Store(tmp_path), ["--repository", str(tmp_path)]
    shelf.shelve(store, "cpu-fp32", kind="reference")
    shelf.shelve(store, "cpu-int8")
    shelf.shelve(store, "cpu-fp32", kind="reference", name="other")
    harm(store)
    for words in (["list", "--json"], ["report", "--json"]):
        assert main([*words, *where]) == 0
        told = capsys.readouterr()
        digits = [r["variant"] for r in json.loads(told.out) if r["model"] == "digits"]
        assert sorted(digits) == ["cpu-fp32", "cpu-int8"]
        assert told.err.startswith("warning: ") and told.err.count("\n") == 1 and word in told.err
    assert main(["verify", *where]) == 1
    told = capsys.readouterr()
    assert f"{sound} sound, 1 broken" in told.out and word in told.err


def test_where_nothing_can_be_read_the_repository_is_not_called_empty(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf.shelve(Store(tmp_path), "cpu-fp32", name="other")
    break_signature(Store(tmp_path))
    for command in ("list", "report"):
        assert main([command, "--repository", str(tmp_path)]) == 0
        assert "can be read: farebox verify" in capsys.readouterr().out
