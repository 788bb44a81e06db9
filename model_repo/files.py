"""Read a file the user named, or say in one sentence why a file cannot be used."""

from __future__ import annotations

import errno
from pathlib import Path

from model_repo.errors import BadInput, FareboxError

_OF_THE_PATH = {
    errno.EACCES,
    errno.EEXIST,
    errno.EINVAL,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENODEV,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ENXIO,
    errno.EPERM,
    errno.EROFS,
}
"""What another path would mend; anything else (a full disk) is the machine's, not the user's."""


def refused(error: OSError, what: str) -> FareboxError:
    """The error to raise for one of the operating system's: BadInput where the path is at fault."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.errno in _OF_THE_PATH:
        return BadInput(f"{what}: {reason}; name another path")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FareboxError(f"{what}: {reason}; make room and run the command again")
    return FareboxError(f"{what}: {reason}")


def read_text(path: Path, what: str) -> str:
    """The text of `path`; raises BadInput saying that `what` is missing or unreadable."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{what} {path} is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise BadInput(f"{what} {path} cannot be read: {error.strerror}") from error
