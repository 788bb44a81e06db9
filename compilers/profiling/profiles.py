"""Profiles artifacts of a plan, each but once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from compilers.cache import Cache
from compilers.digests import code_sha256, digest, versions
from compilers.materials import Materials
from compilers.plan import Plan, PlannedVariant
from compilers.profiling import race
from compilers.progress import Progress
from compilers.steps import Step, produce, read_artifact, to_artifact
from model_repo import runtime
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
            race.machine(),
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
            reference=self._reference_answers(),
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

    def _reference_answers(self) -> Mapping[str, Array] | None:
        """The reference's outputs on the held-out rows, if fidelity to them is what is scored."""
        from compilers.profiling import calls

        model = self.materials.model
        if model.metric == "accuracy":
            return None
        folder = produce(to_artifact(self.plan, self.plan.variants[0]), self.cache, self.materials)
        artifact = read_artifact(folder)
        session = runtime.load(artifact.format).open_session(folder / artifact.path, model)
        try:
            return calls.compute(session, model, self.materials.splits.held_out)
        finally:
            session.close()
