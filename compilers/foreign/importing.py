"""Shelve a foreign ONNX file as its own reference, with cheaper variants where there is data."""

from __future__ import annotations

import tempfile
from pathlib import Path

from compilers.foreign import given, signature
from compilers.foreign.intake import Intake
from compilers.foreign.orders import Outcome, Request, removal
from compilers.foreign.shelving import REFERENCE
from compilers.progress import Progress
from model_repo.errors import BadInput, NotFound
from model_repo.names import check_name
from model_repo.records import VariantKey
from model_repo.store import Store, sha256_of


def import_file(request: Request, store: Store, progress: Progress) -> Outcome:
    """Shelve the file and what can be made of it; what is there already is not made again.

    Raises BadInput for a file or data that cannot be served, or if the version holds another file,
    and Unavailable if another command writes to the repository.
    """
    check_name(request.name, "model")
    check_name(request.version, "version")
    if request.labels and not request.data:
        raise BadInput("--labels needs --data: give the rows that the labels belong to")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        read = signature.read(request.path, folder)
        _refuse_other(request, read.path, store)
        data = request.data and given.read(
            request.data, request.labels, read.inputs, progress.remark
        )
        with store.writing():
            return Intake(request, store, progress, read, data or None, folder).run()


def _refuse_other(request: Request, path: Path, store: Store) -> None:
    """Raise BadInput if this version is there already and is not this file."""
    if (request.name, request.version) not in store.versions():
        return
    key = VariantKey(request.name, request.version, REFERENCE)
    try:
        is_same = store.variant(key).artifact.sha256 == sha256_of(path)
    except NotFound:
        is_same = not store.keys(request.name, request.version)
    if not is_same:
        raise BadInput(
            f"{request.name}/{request.version} is on the shelf with another file: give this one "
            f"another --version, or run {removal(request, store)} first"
        )
