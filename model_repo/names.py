"""Which names may stand in the repository, so that none leads out of it."""

from __future__ import annotations

import re
from pathlib import Path

from model_repo.errors import BadInput, Corrupt
from model_repo.records import Variant

MANIFEST = "variant.json"
SIGNATURE = "model.json"
EXAMPLE = "example.json"
SKIPPED = "skipped.json"
SENSITIVITY = "sensitivity.json"
OF_VERSION = frozenset({SIGNATURE, EXAMPLE, SKIPPED, SENSITIVITY})
"""Files of a model version; without a variant beside them they mean nothing."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def check_name(name: str, what: str) -> str:
    """`name` itself; raises BadInput unless it may name a folder of the repository."""
    if not _NAME.fullmatch(name):
        raise BadInput(
            f"the {what} {name!r} is not allowed: use 1 to 128 letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit"
        )
    return name


def check_artifact_name(variant: Variant) -> None:
    """Raise Corrupt unless the artifact lies in the variant's own folder, beside the manifest.

    A manifest may come from elsewhere: it must not point at files outside its folder.
    """
    path = variant.artifact.path
    if path in ("", ".", "..", MANIFEST) or Path(path).name != path:
        raise Corrupt(f"{variant.key}: its artifact {path!r} is no file name: compile it again")
