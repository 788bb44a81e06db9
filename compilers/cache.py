"""Finished steps, one folder each, named by digest: whole or not there at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compilers.digests import digest
from model_repo import durable
from model_repo.errors import Corrupt
from model_repo.files import refused
from model_repo.store import sha256_of

FOLDER = ".build"
PARTIAL = ".partial-"
SUMS = "sha256.json"
VALUE = "value.json"
MOST_BYTES = 8 * 2**30
"""Of all steps together; the steps of one variant of a large encoder take some 300 MB."""


class Cache:
    """The step cache of one repository; safe to delete whenever no compile runs."""

    def __init__(self, repository: Path) -> None:
        self._root = repository / FOLDER
        self._failed: dict[str, Exception] = {}

    def find(self, digest: str) -> Path | None:
        """The folder of a finished step, or None; one whose files changed since is deleted."""
        place = self._root / digest
        if not place.is_dir():
            return None
        if _is_sound(place):
            os.utime(place / SUMS)  # used now: see `trim`
            return place
        shutil.rmtree(place)
        return None

    @contextmanager
    def writing(self, digest: str) -> Iterator[Path]:
        """An empty folder that becomes the step's once the block ends without an error.

        What failed before is not tried again, but raises as it did: other variants need it too.
        """
        if digest in self._failed:
            raise self._failed[digest]
        self._root.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=self._root))
        try:
            yield folder
            durable.write(folder / SUMS, _sums(folder))
            # A rename may reach the disk before the bytes it names, so these go first.
            for path in (*folder.iterdir(), folder):
                durable.sync(path)
            folder.rename(self._root / digest)
            durable.sync(self._root)
        except Exception as error:
            traceback.clear_frames(error.__traceback__)  # they may hold whole networks
            self._failed[digest] = error
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def recall(self, depends_on: tuple[Any, ...], compute: Callable[[], Any]) -> Any:
        """`compute()`, plain JSON, computed once for all that it depends on, and kept."""
        name = digest("value", *depends_on)
        place = self.find(name)
        if place is None:
            with self.writing(name) as folder:
                durable.write(folder / VALUE, compute())
            place = self._root / name
        return durable.read(place / VALUE, object)

    def refuse_if_full(self, error: Exception) -> None:
        """Raise FareboxError if a full disk is behind it, whatever a library made of that."""
        if _is_full(error):
            full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise refused(full, f"{self._root.parent} cannot be written") from error

    def sweep(self) -> None:
        """Delete what killed commands left, and `trim`."""
        for folder in self._root.glob(f"{PARTIAL}*"):
            shutil.rmtree(folder, ignore_errors=True)
        self.trim()

    def trim(self, most_bytes: int = MOST_BYTES) -> None:
        """Delete the steps that were longest not used, until the others fit into `most_bytes`.

        Values stay: one of some hundred bytes may be all that is left of minutes of training.
        The caller holds the repository for writing, and no step is in use.
        """
        places = self._root.glob(f"[!.]*/{SUMS}")
        found = [_usage(place) for place in places if not place.with_name(VALUE).exists()]
        total = sum(size for _, size, _ in found)
        for _, size, folder in sorted(found):
            if total <= most_bytes:
                return
            shutil.rmtree(folder, ignore_errors=True)
            total -= size


def _is_full(error: BaseException | None) -> bool:
    while error is not None:
        is_out = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if is_out or "No space left" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _usage(sums: Path) -> tuple[int, int, Path]:
    """When a step was last used, how large it is, and its folder."""
    size = sum(path.stat().st_size for path in sums.parent.iterdir())
    return sums.stat().st_mtime_ns, size, sums.parent


def _sums(folder: Path) -> dict[str, str]:
    """File name -> SHA-256, in hex."""
    return {path.name: sha256_of(path) for path in folder.iterdir() if path.name != SUMS}


def _is_sound(folder: Path) -> bool:
    try:
        return durable.read(folder / SUMS, dict[str, str]) == _sums(folder)
    except (Corrupt, OSError):
        return False
