"""A finished step is whole or not there at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from compilers.cache import FOLDER, SUMS, Cache


def test_a_step_appears_when_it_ends_well(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with cache.writing("abc") as folder:
        (folder / "x").write_text("1")
        assert cache.find("abc") is None
    place = cache.find("abc")
    assert place == tmp_path / FOLDER / "abc"
    assert (place / "x").read_text() == "1"


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with pytest.raises(ValueError, match="no"), cache.writing("abc") as folder:
        (folder / "x").write_text("1")
        raise ValueError("no")
    assert cache.find("abc") is None
    assert list((tmp_path / FOLDER).iterdir()) == []


@pytest.mark.parametrize("spoilt", ["x", SUMS])
@pytest.mark.parametrize("spoil", [lambda path: path.write_text("2"), Path.unlink])
def test_a_step_that_changed_since_is_dropped(
    tmp_path: Path, spoilt: str, spoil: Callable[[Path], object]
) -> None:
    cache = Cache(tmp_path)
    with cache.writing("abc") as folder:
        (folder / "x").write_text("1")
    spoil(tmp_path / FOLDER / "abc" / spoilt)
    assert cache.find("abc") is None
    with cache.writing("abc") as folder:
        (folder / "x").write_text("1")
    assert cache.find("abc")


def test_sweeping_keeps_only_finished_steps(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.sweep()
    with cache.writing("abc"):
        pass
    (tmp_path / FOLDER / ".partial-killed").mkdir()
    cache.sweep()
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["abc"]


def test_a_value_is_computed_once(tmp_path: Path) -> None:
    computed: list[int] = []

    def compute() -> dict[str, float]:
        computed.append(1)
        return {"layer": 0.1 + 0.2}

    for _ in range(2):
        assert Cache(tmp_path).recall(("losses", 3), compute) == {"layer": 0.1 + 0.2}
    assert len(computed) == 1
    Cache(tmp_path).recall(("losses", 4), compute)
    assert len(computed) == 2


def test_the_step_longest_not_used_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for name in ("one", "two", "three"):
        with cache.writing(name) as folder:
            (folder / "x").write_bytes(bytes(1000))
        os.utime(tmp_path / FOLDER / name / SUMS, ns=(0, len(name)))
    (tmp_path / FOLDER / ".partial-now").mkdir()
    assert cache.find("one"), "which uses it"
    cache.trim(2500)
    assert {path.name for path in (tmp_path / FOLDER).iterdir()} == {"one", "three", ".partial-now"}
    cache.trim()
    assert cache.find("one") and cache.find("three")


def test_a_value_is_not_trimmed(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert cache.recall(("trial",), lambda: 1) == 1
    with cache.writing("newer") as folder:
        (folder / "x").write_bytes(bytes(1000))
    cache.trim(0)
    assert cache.find("newer") is None
    assert cache.recall(("trial",), lambda: 2) == 1
