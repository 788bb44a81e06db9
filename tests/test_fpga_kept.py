"""What a run that was ended had made is not made again, unless something was asked otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from compilers.fpga.kept import Kept


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "farebox" / "placing"


def make(folder: Path, asked: str = "one", kept: Kept | None = None) -> bool:
    folder.mkdir(exist_ok=True)

    def run() -> None:
        (folder / "made").write_text(f"{asked} in {folder.name}")

    return (kept or Kept()).make(asked, folder, ["made"], run)


def test_what_was_made_before_is_taken_from_there(tmp_path: Path) -> None:
    assert [make(tmp_path / "a"), make(tmp_path / "b"), make(tmp_path / "c", "two")] == [
        False,
        True,
        False,
    ]
    assert (tmp_path / "b" / "made").read_text() == "one in a"


def test_what_is_not_whole_or_gone_is_made_again(tmp_path: Path, cache: Path) -> None:
    make(tmp_path / "a")
    (place,) = cache.iterdir()
    (place / "made").write_text("")
    assert not make(tmp_path / "b")
    assert make(tmp_path / "c")
    (place / "made").unlink()
    assert not make(tmp_path / "d")
    assert (tmp_path / "d" / "made").read_text() == "one in d"


def test_a_stage_that_fails_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    def fail() -> None:
        (tmp_path / "made").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Kept().make("one", tmp_path, ["made"], fail)
    assert not cache.exists()


def test_once_all_is_done_nothing_is_kept(tmp_path: Path, cache: Path) -> None:
    make(tmp_path / "other", "other")
    kept = Kept()
    make(tmp_path / "a", kept=kept)
    make(tmp_path / "b", "two", kept)
    kept.forget()
    assert len(list(cache.iterdir())) == 1
