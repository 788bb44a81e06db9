"""Profiles artifacts of a plan, each but once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import msgspec

from compilers.cache import Cache
from compilers.digests import code_sha256, digest, versions
from compilers.materials import Materials
from compilers.plan import Plan, PlannedVariant
from compilers.profiling import host, reference
from compilers.progress import Progress
from compilers.steps import Step
from model_repo.records import Artifact, Model, Profile
from model_repo.tensors import Array

PROFILE = "profile.json"
MEASURED_WITH = ("numpy", "onnxruntime", "scipy")


@dataclass(frozen=True)
class Profiler:
    """Measures on the held-out rows, and keeps what it measured among the steps."""

    plan: Plan
    cache: Cache
    materials: Materials
    progress: Progress

    def profile(
        self, planned: PlannedVariant, step: Step, folder: Path, artifact: Artifact
    ) -> Profile:
        """Measured once for each artifact, data, machine, and way of measuring.

        What did not settle is shelved, but not kept: removed and compiled again, it is measured
        again.
        """
        model = planned.answering(self.materials.model)
        name = digest(
            step.digest,
            "profile",
            model,
            self.plan.recipe.batch_sizes,
            code_sha256("compilers.profiling.measure"),
            code_sha256("compilers.profiling.scoring"),
            versions(MEASURED_WITH),
            host.machine(),
        )
        place = self.cache.find(name)
        if place is None:
            profile = self._measure(folder / artifact.path, artifact.format, model)
            if profile.is_settled:
                with self.cache.writing(name) as kept:
                    (kept / PROFILE).write_bytes(msgspec.json.encode(profile))
            return profile
        return msgspec.json.decode((place / PROFILE).read_bytes(), type=Profile)

    def _measure(self, path: Path, artifact_format: str, model: Model) -> Profile:
        from compilers.profiling import measure, scoring

        held_out = self.materials.splits.held_out
        judge = partial(
            scoring.judge,
            model=model,
            data=held_out,
            reference=self._wanted,
        )
        self.progress.say("measuring")
        return measure.profile(
            path,
            artifact_format,
            model,
            held_out,
            score=judge,
            batch_sizes=self.plan.recipe.batch_sizes,
            seed=self.plan.recipe.seed,
            progress=lambda text: self.progress.say(f"measuring {text}"),
        )

    @cached_property
    def _wanted(self) -> Mapping[str, Array] | None:
        held_out = self.materials.splits.held_out
        return reference.answers(self.plan, self.cache, self.materials, held_out)
