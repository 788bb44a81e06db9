"""Finished steps, one folder each, named by digest: whole or not there at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model_repo import durable

FOLDER = ".build"
PARTIAL = ".partial-"


class Cache:
    """The step cache of one repository; safe to delete whenever no compile runs."""

    def __init__(self, repository: Path) -> None:
        self._root = repository / FOLDER

    def find(self, digest: str) -> Path | None:
        """The folder of a finished step, or None."""
        place = self._root / digest
        return place if place.is_dir() else None

    @contextmanager
    def writing(self, digest: str) -> Iterator[Path]:
        """An empty folder that becomes the step's once the block ends without an error."""
        self._root.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=self._root))
        try:
            yield folder
            # A rename may reach the disk before the bytes it names, so these go first.
            for path in (*folder.iterdir(), folder):
                durable.sync(path)
            folder.rename(self._root / digest)
            durable.sync(self._root)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def sweep(self) -> None:
        """Delete what killed commands left; the caller holds the repository for writing."""
        for folder in self._root.glob(f"{PARTIAL}*"):
            shutil.rmtree(folder, ignore_errors=True)
