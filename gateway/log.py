"""Log lines as JSON on stderr, one object a line."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

LOGGER = logging.getLogger("farebox")


class JsonLines(logging.Formatter):
    """time, level, message, and whatever fields the call gave."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def configure(level: str) -> None:
    """Send our lines, and those of the libraries, to stderr."""
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[stream], force=True)
    LOGGER.setLevel(level.upper())


def event(
    message: str, fields: Mapping[str, object] | None = None, level: int = logging.INFO
) -> None:
    """One line with fields of its own."""
    if LOGGER.isEnabledFor(level):
        LOGGER.log(level, message, extra={"fields": fields or {}})
