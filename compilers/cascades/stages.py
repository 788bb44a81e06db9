"""How sure and how right a variant is of the rows that cascades are made on, computed once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from compilers.cache import Cache
from compilers.cascades.pairing import Stage
from compilers.datasets import Data
from compilers.digests import code_sha256, digest
from compilers.materials import Materials
from compilers.profiling import calls
from compilers.profiling.scoring import right_rows
from model_repo import confidence, runtime
from model_repo.records import Variant
from model_repo.store import Store
from model_repo.tensors import Array

ROWS = "rows.safetensors"


@dataclass
class Stages:
    """Runs shelved variants, through the runtimes that serve them, on the rows of three splits.

    reference: whose answers are right where the metric is agreement.
    """

    store: Store
    cache: Cache
    materials: Materials
    reference: Variant

    def stage(self, variant: Variant) -> Stage:
        """What pairs need of a variant; raises BadInput if its scored output says no margin."""
        from safetensors.numpy import load_file, save_file

        name = digest(
            "rows",
            variant.digest,
            variant.artifact,
            self.reference.artifact.sha256,
            self.materials.model,
            code_sha256("compilers.cascades.stages"),
        )
        place = self.cache.find(name)
        if place is None:
            self.materials.say(f"rows of {variant.key.variant}")
            rows = self._rows(variant)
            with self.cache.writing(name) as folder:
                save_file(rows, folder / ROWS)
            return Stage(variant, **rows)
        return Stage(variant, **load_file(place / ROWS))

    def _rows(self, variant: Variant) -> dict[str, Array]:
        model, rows = self.materials.model, {}
        for name, data in self._splits.items():
            scores = self._answers(variant, data)
            wanted = self._wanted[name] if model.metric == "agreement" else None
            rows[f"{name}_margins"] = confidence.margins(scores)
            rows[f"{name}_right"] = right_rows(scores, model, data.labels, wanted)
        return rows

    @property
    def _splits(self) -> dict[str, Data]:
        splits = self.materials.splits
        return {
            "conformal": splits.conformal,
            "validation": splits.validation,
            "held_out": splits.held_out,
        }

    @cached_property
    def _wanted(self) -> dict[str, Array]:
        return {name: self._answers(self.reference, data) for name, data in self._splits.items()}

    def _answers(self, variant: Variant, data: Data) -> Array:
        model = self.materials.model
        path = self.store.artifact(variant)
        session = runtime.load(variant.artifact.format).open_session(path, model)
        try:
            return calls.compute(session, model, data)[model.scored_output]
        finally:
            session.close()
