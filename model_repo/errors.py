"""The one error tree: every failure Farebox itself raises, in plain words.

FareboxError
├── BadInput            the request, file or option is wrong; sending it again will not help
│   ├── Corrupt         a stored file is not what its manifest says
│   ├── MissingExtra    an optional dependency is not installed; the message names the extra
│   └── MissingDevice   the hardware or the system's tools it takes are not there
├── NotFound            no such model, version, variant, recipe or plugin
├── Infeasible          no variant could ever meet the SLO
├── Unavailable         not now: full, not ready, shutting down, or no variant meets the SLO
├── Expired             the deadline passed
├── Cancelled           the client went away
└── Unsupported         understood, but not offered

A message says what was given, what is allowed and what to do, in one sentence.
"""

from __future__ import annotations


class FareboxError(Exception):
    """Anything Farebox raises on purpose; anything else is a defect."""


class BadInput(FareboxError):
    """The request, file or option is wrong."""


class Corrupt(BadInput):
    """A stored file is not what its manifest says."""


class MissingExtra(BadInput):
    """An optional dependency is not installed."""

    def __init__(self, needed_for: str, missing: str, extra: str) -> None:
        super().__init__(
            f"{needed_for} needs the package {missing!r}, which is not installed: "
            f"pip install 'farebox[{extra}]'"
        )


class MissingDevice(BadInput):
    """The hardware, or the system's tools, that something takes are not on this machine."""


class NotFound(FareboxError):
    """No such model, version, variant, recipe or plugin."""


class Infeasible(FareboxError):
    """No variant could ever meet the SLO."""


class Unavailable(FareboxError):
    """Not now; the caller may try again after `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Expired(FareboxError):
    """The deadline passed before an answer was there."""


class Cancelled(FareboxError):
    """The client went away."""


class Unsupported(FareboxError):
    """Understood, but not offered."""


def in_one_line(error: Exception) -> str:
    """What a library raised, for the end of a message of ours: its class, then its text, cut."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
