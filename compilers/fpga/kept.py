"""Keeps what a slow tool made until all is done, for a run that was killed to go on from there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from compilers.digests import digest
from model_repo import native
from model_repo.store import sha256_of

SUMS = "sums.json"


class Kept:
    """What stages of one task made, each under a name that says all that it was made from."""

    def __init__(self) -> None:
        self._places: list[Path] = []

    def make(
        self, asked: Any, folder: Path, files: Sequence[str], run: Callable[[], object]
    ) -> bool:
        """Have `files` in `folder`: those kept when this was asked before, else `run` makes them,
        and they are kept. Whether they were there."""
        place = native.cache_folder().parent / "placing" / digest(asked)
        self._places.append(place)
        if _copied(place, folder, files):
            return True
        shutil.rmtree(place, ignore_errors=True)
        run()
        native.keep(place, lambda made: _copy(folder, made / place.name, files))
        return False

    def forget(self) -> None:
        """Delete what this task came by: it has served its purpose."""
        for place in self._places:
            shutil.rmtree(place, ignore_errors=True)


def _copy(folder: Path, place: Path, files: Sequence[str]) -> None:
    place.mkdir()
    for name in files:
        shutil.copyfile(folder / name, place / name)
    sums = {name: sha256_of(folder / name) for name in files}
    (place / SUMS).write_text(json.dumps(sums))


def _copied(place: Path, folder: Path, files: Sequence[str]) -> bool:
    """Whether all files are there, and whole; whoever tidies up may take them at any time."""
    try:
        sums = json.loads((place / SUMS).read_text())
        for name in files:
            shutil.copyfile(place / name, folder / name)
    except (OSError, ValueError):
        return False
    return all(sha256_of(folder / name) == sums.get(name) for name in files)
