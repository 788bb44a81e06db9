"""One version on the shelf as an import sees it: what is there, what is known to be of no use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from compilers import example
from compilers.datasets import Data
from compilers.digests import code_sha256, digest
from compilers.passes import quantize
from compilers.profiling import host
from compilers.targets import cpu
from model_repo.errors import Corrupt, NotFound
from model_repo.findings import note_skip, read_skips
from model_repo.records import Model, Skip, Variant, VariantKey
from model_repo.store import Store

REFERENCE = "cpu-reference"


@dataclass
class Place:
    """The variants of one version; inputs: the digest of all that the user gave."""

    store: Store
    name: str
    version: str
    inputs: str

    def key(self, variant: str) -> VariantKey:
        """The key of a variant of this version."""
        return VariantKey(self.name, self.version, variant)

    def digest(self, variant: str) -> str:
        """Of everything that goes into a variant; libraries only rewrite what is not the file."""
        parts = (variant, self.inputs, code_sha256("compilers.foreign.importing"))
        return digest(*parts) if variant == REFERENCE else digest(*parts, self._versions)

    @cached_property
    def _versions(self) -> dict[str, str]:
        formats = (each.libraries for each in cpu.FORMATS.values())
        return host.versions(
            sorted({*quantize.LIBRARIES, *(lib for each in formats for lib in each)})
        )

    def find(self, variant: str) -> Variant | None:
        """The variant, if it is there, whole, and made of the same."""
        try:
            found = self.store.variant(self.key(variant))
            self.store.artifact(found)
        except (NotFound, Corrupt):  # what is missing or broken is made again
            return None
        return found if found.digest == self.digest(variant) else None

    def why_not(self, variant: str) -> str | None:
        """Why it is of no use on this machine, if that is settled."""
        skip = read_skips(self.store, self.name, self.version).get(variant)
        return skip.reason if skip and skip.digest == self._settled(variant) else None

    def skip(self, variant: str, reason: str, *, is_settled: bool) -> None:
        """Note why it is not there, and whether trying again on this machine would help."""
        skip = Skip(reason, self._settled(variant) if is_settled else "")
        note_skip(self.store, self.name, self.version, variant, skip)

    def _settled(self, variant: str) -> str:
        return digest(self.digest(variant), "settled", host.machine())

    def put(self, model: Model, rows: Data, variant: Variant, path: Path) -> None:
        """Shelve a variant and, the first time, what is known of the model."""
        self.store.commit_model(model, example.request(model, rows))
        self.store.commit(variant, path)
        note_skip(self.store, self.name, self.version, variant.key.variant, None)
