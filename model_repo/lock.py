"""One writer at a time for a folder, and a sentence if it cannot be written at all."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model_repo.errors import Unavailable
from model_repo.files import refused


@contextmanager
def held(root: Path) -> Iterator[None]:
    """Hold `root` for writing, making it if need be; the lock goes with the process.

    Raises Unavailable if another process holds it, BadInput if it cannot be written, and
    FareboxError if the disk is full.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / ".lock").open("w")
    except OSError as error:
        raise refused(error, f"the repository {root} cannot be written") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Unavailable(
                f"another farebox command is writing to {root}: wait for it to end"
            ) from error
        except OSError as error:
            raise refused(error, f"the repository {root} cannot be locked") from error
        yield
