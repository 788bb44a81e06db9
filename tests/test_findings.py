"""Why a variant is not on the shelf is kept beside the signature, and goes with the version."""

from __future__ import annotations

from pathlib import Path

import pytest
import shelf

from model_repo.errors import BadInput, Corrupt
from model_repo.findings import note_skip, read_skips
from model_repo.records import Skip
from model_repo.store import Store

DEAR, LOST = Skip("dearer at every batch size", "abc"), Skip("no such kernel")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """One version with its reference."""
    store = Store(tmp_path / "repository")
    shelf.shelve(store, "cpu-fp32", kind="reference")
    return store


def test_what_was_noted_is_read_sorted(store: Store) -> None:
    assert read_skips(store, "digits", "1") == {}
    note_skip(store, "digits", "1", "cpu-z", LOST)
    note_skip(store, "digits", "1", "cpu-a", DEAR)
    assert list(read_skips(store, "digits", "1").items()) == [("cpu-a", DEAR), ("cpu-z", LOST)]


def test_the_last_word_counts_and_none_forgets(store: Store) -> None:
    note_skip(store, "digits", "1", "cpu-a", DEAR)
    note_skip(store, "digits", "1", "cpu-a", LOST)
    assert read_skips(store, "digits", "1") == {"cpu-a": LOST}
    note_skip(store, "digits", "1", "cpu-a", None)
    assert read_skips(store, "digits", "1") == {}
    assert not list(store.root.rglob("skipped.json")), "an empty list is no file"
    note_skip(store, "digits", "1", "cpu-a", None)


def test_what_is_on_the_shelf_is_not_skipped(store: Store) -> None:
    note_skip(store, "digits", "1", "cpu-a", LOST)
    shelf.shelve(store, "cpu-a")
    assert read_skips(store, "digits", "1") == {}


def test_a_broken_file_is_corrupt(store: Store) -> None:
    (store.root / "digits" / "1" / "skipped.json").write_text("{")
    with pytest.raises(Corrupt, match=r"skipped\.json cannot be read"):
        read_skips(store, "digits", "1")


def test_no_name_leads_out_of_the_repository(store: Store) -> None:
    for names in (("..", "1", "a"), ("digits", "..", "a"), ("digits", "1", "../a")):
        with pytest.raises(BadInput, match="is not allowed"):
            note_skip(store, *names, LOST)


def test_it_goes_with_the_last_variant_and_with_the_version(store: Store) -> None:
    note_skip(store, "digits", "1", "cpu-a", LOST)
    shelf.shelve(store, "cpu-b")
    store.remove("digits", "1", "cpu-b")
    assert read_skips(store, "digits", "1") == {"cpu-a": LOST}
    store.remove("digits", "1", "cpu-fp32")
    assert not (store.root / "digits").exists()
    assert read_skips(store, "digits", "1") == {}
