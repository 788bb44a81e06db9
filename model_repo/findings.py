"""What is known of a model version besides its variants: those that are not there, and why."""

from __future__ import annotations

from pathlib import Path

from model_repo import durable
from model_repo.names import SKIPPED, check_name
from model_repo.records import Skip
from model_repo.store import Store


def read_skips(store: Store, model: str, version: str) -> dict[str, Skip]:
    """Why variants are not on the shelf, by name, sorted; those that are there are left out.

    Raises Corrupt if the file cannot be read.
    """
    path = _path(store, model, version)
    if not path.exists():
        return {}
    there = {key.variant for key in store.keys(model, version)}
    found = durable.read(path, dict[str, Skip])
    return {name: found[name] for name in sorted(found) if name not in there}


def note_skip(store: Store, model: str, version: str, variant: str, skip: Skip | None) -> None:
    """Keep why `variant` is not on the shelf; None forgets it, as it is there now.

    The caller holds the repository for writing.
    """
    path = _path(store, model, version)
    before = durable.read(path, dict[str, Skip]) if path.exists() else {}
    after = {name: kept for name, kept in before.items() if name != variant}
    if skip is not None:
        after[check_name(variant, "variant")] = skip
    if not after:
        path.unlink(missing_ok=True)
    elif after != before:
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.write(path, dict(sorted(after.items())))


def _path(store: Store, model: str, version: str) -> Path:
    return store.root / check_name(model, "model") / check_name(version, "version") / SKIPPED
