"""Read a text file the user named, or say in one sentence why it cannot be read."""

from __future__ import annotations

from pathlib import Path

from model_repo.errors import BadInput


def read_text(path: Path, what: str) -> str:
    """The text of `path`; raises BadInput saying that `what` is missing or unreadable."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{what} {path} is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise BadInput(f"{what} {path} cannot be read: {error.strerror}") from error
