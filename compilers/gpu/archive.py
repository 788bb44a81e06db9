"""Writes several files as one uncompressed zip: the same files give the same bytes."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

_AT = (1980, 1, 1, 0, 0, 0)


def write(path: Path, parts: Mapping[str, bytes]) -> None:
    """Write `parts`, name -> bytes, in their order."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for name, data in parts.items():
            entry = zipfile.ZipInfo(name, _AT)
            # Else they would say on which system the file was made.
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            file.writestr(entry, data)
