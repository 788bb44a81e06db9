"""The model repository on disk: the only code that reads or writes its files.

    MODEL/VERSION/model.json                 the signature
    MODEL/VERSION/example.json               one request to try it with
    MODEL/VERSION/skipped.json               the variants that are not there, and why
    MODEL/VERSION/sensitivity.json           how much each layer minds int8 and pruning
    MODEL/VERSION/VARIANT/variant.json       the manifest, beside the artifact it vouches for
    .staging/                                variants being written
    .build/                                  the compilers' step cache, safe to delete

A variant is written under `.staging` with its manifest last, synced, and renamed into place whole;
one that is replaced gets its new artifact first, then its new manifest. A folder without a manifest
does not exist, and a crash at any point leaves the old variant or the new one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from msgspec import structs

from model_repo import durable, lock, names
from model_repo.errors import BadInput, Corrupt, NotFound
from model_repo.files import refused
from model_repo.names import EXAMPLE, MANIFEST, SIGNATURE, check_artifact_name, check_name
from model_repo.records import Artifact, Model, Variant, VariantKey


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe(path: Path, artifact_format: str) -> Artifact:
    """The artifact record of a file that is about to be shelved."""
    return Artifact(path.name, artifact_format, sha256_of(path), path.stat().st_size)


class Store:
    """One model repository; `root` is created when something is first written to it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def versions(self) -> list[tuple[str, str]]:
        """(model, version) of every signature on the shelf, sorted; none if there is no folder.

        The names are as they stand on the disk: asking for a model whose name is not allowed
        raises BadInput. So does this for a path that is no folder or cannot be read.
        """
        try:
            os.scandir(self.root).close()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise refused(error, f"the repository {self.root} cannot be read") from error
        found = self.root.glob(f"[!.]*/[!.]*/{SIGNATURE}")
        return sorted((path.parts[-3], path.parts[-2]) for path in found)

    def model(self, name: str, version: str) -> Model:
        """One signature; raises NotFound, or Corrupt if it cannot be read."""
        path = self._version(name, version) / SIGNATURE
        if not path.exists():
            raise NotFound(f"there is no model {name}/{version} in {self.root}")
        model = durable.read(path, Model)
        if (model.name, model.version) != (name, version):
            raise Corrupt(
                f"{path} is the signature of {model.name}/{model.version}, not of {name}/{version}"
            )
        return model

    def keys(self, name: str, version: str) -> list[VariantKey]:
        """The finished variants of a model version, sorted by name."""
        found = self._version(name, version).glob(f"[!.]*/{MANIFEST}")
        return sorted(VariantKey(name, version, path.parts[-2]) for path in found)

    def variant(self, key: VariantKey) -> Variant:
        """One manifest; raises NotFound, or Corrupt if it cannot be read."""
        path = self.folder(key) / MANIFEST
        if not path.exists():
            raise NotFound(f"there is no variant {key} in {self.root}")
        variant = durable.read(path, Variant)
        if variant.key != key:
            raise Corrupt(f"{path} is the manifest of {variant.key}, not of {key}")
        return variant

    def variants(self, name: str, version: str) -> list[Variant]:
        """All finished variants of a model version; raises Corrupt for an unreadable manifest."""
        found = []
        for key in self.keys(name, version):
            with suppress(NotFound):  # removed since it was listed
                found.append(self.variant(key))
        return found

    def folder(self, key: VariantKey) -> Path:
        """Where a variant lies."""
        return self._version(key.model, key.version) / check_name(key.variant, "variant")

    def artifact(self, variant: Variant) -> Path:
        """The verified artifact; raises Corrupt if it is missing or is not what was shelved."""
        check_artifact_name(variant)
        path = self.folder(variant.key) / variant.artifact.path
        if not path.is_file():
            raise Corrupt(f"{variant.key}: its artifact {path} is missing; compile it again")
        if path.stat().st_size != variant.artifact.size_bytes or (
            sha256_of(path) != variant.artifact.sha256
        ):
            raise Corrupt(
                f"{variant.key}: its artifact {path} is not the file that was measured "
                "(its SHA-256 differs); remove the variant and compile it again"
            )
        return path

    def check_model(self, model: Model) -> None:
        """Raise BadInput if this version exists with another signature."""
        path = self._version(model.name, model.version) / SIGNATURE
        if path.exists() and durable.read(path, Model) != model:
            raise BadInput(
                f"{model.name}/{model.version} exists with another signature: "
                "give the new model another version, or remove the old one first"
            )

    def commit_model(self, model: Model, example: bytes | None = None) -> None:
        """Write a signature; raises BadInput if this version exists with another one.

        example: a request in JSON that the model answers.
        """
        self.check_model(model)
        path = self._version(model.name, model.version) / SIGNATURE
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.write(path, model)
        shown = path.with_name(EXAMPLE)
        if example and not (shown.is_file() and shown.read_bytes() == example):
            durable.write_bytes(shown, example)

    def example(self, name: str, version: str) -> Path | None:
        """The file that holds one request to try the model with, if there is one."""
        path = self._version(name, version) / EXAMPLE
        return path if path.is_file() else None

    def commit(self, variant: Variant, artifact: Path) -> None:
        """Shelve a variant: copy, sync, then rename; an older one is replaced at one stroke.

        A new artifact beside an older one of its name is shelved under a name of its own.
        Raises Corrupt, and shelves nothing, if the file is not the one that was measured.
        """
        check_artifact_name(variant)
        place = self.folder(variant.key)
        if (place / MANIFEST).exists():
            self._replace(variant, artifact, place)
            return
        staging = self.root / ".staging"
        staging.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=staging))
        try:
            folder.chmod(0o755)
            durable.copy(artifact, folder / variant.artifact.path, partial(_check_copy, variant))
            durable.write(folder / MANIFEST, variant)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(place, ignore_errors=True)  # without a manifest it does not exist
            folder.rename(place)
            durable.sync(place.parent)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _replace(self, variant: Variant, artifact: Path, place: Path) -> None:
        # Swapping whole folders takes two renames, and a crash between them would lose both.
        # Whoever has just read the old manifest finds its artifact until the next replacement.
        kept = durable.read(place / MANIFEST, Variant).artifact.path
        new, name = variant.artifact, Path(variant.artifact.path)
        if (place / name).exists() and sha256_of(place / name) != new.sha256:
            name = name.with_stem(f"{name.stem}-{new.sha256[:12]}")
            variant = structs.replace(variant, artifact=structs.replace(new, path=str(name)))
        durable.copy(artifact, place / name, partial(_check_copy, variant))
        durable.write(place / MANIFEST, variant)
        for path in place.iterdir():
            if path.name not in {MANIFEST, name.name, kept}:
                path.unlink()

    def place(self, name: str, version: str = "", variant: str = "") -> Path:
        """The folder of a model, a version or a variant; raises NotFound if nothing is there."""
        place = self.root / check_name(name, "model")
        for part, what in ((version, "version"), (variant, "variant")):
            place = place / check_name(part, what) if part else place
        self.versions()  # says so if the repository is no folder
        if not any(path for kind in (MANIFEST, SIGNATURE) for path in place.rglob(kind)):
            named = "/".join(part for part in (name, version, variant) if part)
            raise NotFound(f"there is no {named} in {self.root}: farebox list says what there is")
        return place

    def remove(self, name: str, version: str = "", variant: str = "") -> int:
        """Delete a model, a version or a variant; returns how many variants went.

        Raises NotFound if there is none.
        """
        place = self.place(name, version, variant)
        gone = sum(1 for _ in place.rglob(MANIFEST))
        # Out of sight first, so that a crash while deleting leaves no half variant behind.
        staging = self.root / ".staging"
        staging.mkdir(exist_ok=True)
        doomed = Path(tempfile.mkdtemp(dir=staging))
        place.rename(doomed / place.name)
        shutil.rmtree(doomed, ignore_errors=True)
        self._drop_empty(place.parent)
        return gone

    def _drop_empty(self, folder: Path) -> None:
        # Hidden files are what killed commands left.
        while folder != self.root and all(
            path.name in names.OF_VERSION or path.name[0] == "." for path in folder.iterdir()
        ):
            shutil.rmtree(folder)
            folder = folder.parent

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the repository for writing; raises as `lock.held` does."""
        with lock.held(self.root):
            # Whatever lies in staging now was left by a command that was killed.
            shutil.rmtree(self.root / ".staging", ignore_errors=True)
            yield

    def fingerprint(self) -> str:
        """Changes whenever a manifest or signature does; cheap enough to poll."""
        stamps = [
            f"{path}:{stat.st_mtime_ns}:{stat.st_ino}"
            for pattern in (f"[!.]*/[!.]*/{SIGNATURE}", f"[!.]*/[!.]*/[!.]*/{MANIFEST}")
            for path in sorted(self.root.glob(pattern))
            if (stat := path.stat())
        ]
        return hashlib.sha256("\n".join(stamps).encode()).hexdigest()

    def _version(self, name: str, version: str) -> Path:
        return self.root / check_name(name, "model") / check_name(version, "version")


def _check_copy(variant: Variant, path: Path) -> None:
    if sha256_of(path) != variant.artifact.sha256:
        raise Corrupt(
            f"{variant.key}: the file to shelve is not the one that was measured (its SHA-256 "
            "differs); compile it again"
        )
