"""Profiles artifacts of a plan, measured or estimated, each but once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from compilers.cache import Cache
from compilers.digests import code_sha256, digest, versions
from compilers.materials import Materials
from compilers.plan import Plan, PlannedVariant
from compilers.profiling import host, reference
from compilers.progress import Progress
from compilers.steps import Step, job
from model_repo import runtime
from model_repo.records import Artifact, Profile
from model_repo.runtime import Session
from model_repo.tensors import Array

if TYPE_CHECKING:
    from compilers.profiling.scoring import Score

PROFILE = "profile.json"
MEASURED_WITH = ("numpy", "onnxruntime", "scipy")


class Known(msgspec.Struct, frozen=True):
    """The profile of a variant, and the notes that whoever estimated it adds to the variant."""

    profile: Profile
    notes: dict[str, float | str] = {}


@dataclass(frozen=True)
class Profiler:
    """Measures on the held-out rows, and keeps what it measured among the steps."""

    plan: Plan
    cache: Cache
    materials: Materials
    progress: Progress

    def profile(
        self, planned: PlannedVariant, step: Step, folder: Path, artifact: Artifact
    ) -> Known:
        """Measured once for each artifact, data, machine, and way of measuring.

        What did not settle is shelved, but not kept: removed and compiled again, it is measured
        again. What does not run on its target's own hardware here is estimated, on any machine
        alike; only its accuracy is measured.
        """
        is_here = runtime.load(artifact.format).device() == planned.target.TARGET
        name = self._digest(planned, step, is_here)
        place = self.cache.find(name)
        if place is not None:
            return msgspec.json.decode((place / PROFILE).read_bytes(), type=Known)
        path = folder / artifact.path
        if is_here:
            known = Known(self._measure(path, artifact.format, planned))
        else:
            known = self._estimate(path, artifact.format, planned)
        if known.profile.is_settled:
            with self.cache.writing(name) as kept:
                (kept / PROFILE).write_bytes(msgspec.json.encode(known))
        return known

    def _digest(self, planned: PlannedVariant, step: Step, is_here: bool) -> str:
        target = f"compilers.targets.{planned.target.TARGET}"
        return digest(
            step.digest,
            "profile",
            planned.answering(self.materials.model),
            self.plan.recipe.batch_sizes,
            code_sha256("compilers.profiling.measure" if is_here else target),
            code_sha256("compilers.profiling.scoring"),
            versions(MEASURED_WITH),
            host.machine() if is_here else "estimated",
        )

    def _measure(self, path: Path, artifact_format: str, planned: PlannedVariant) -> Profile:
        from compilers.profiling import measure

        self.progress.say("measuring")
        return measure.profile(
            path,
            artifact_format,
            planned.answering(self.materials.model),
            self.materials.splits.held_out,
            score=lambda session: self._judge(session, planned),
            batch_sizes=self.plan.recipe.batch_sizes,
            seed=self.plan.recipe.seed,
            progress=lambda text: self.progress.say(f"measuring {text}"),
        )

    def _estimate(self, path: Path, artifact_format: str, planned: PlannedVariant) -> Known:
        from compilers.profiling import estimated

        asked = job(planned, self.plan.recipe, self.materials)
        self.progress.say("estimating")
        estimate = planned.target.estimate(path, artifact_format, asked)
        self.progress.say("measuring accuracy")
        profile = estimated.profile(
            path,
            artifact_format,
            asked.signature,
            estimate,
            score=lambda session: self._judge(session, planned),
            seed=asked.seed,
        )
        return Known(profile, estimate.notes)

    def _judge(self, session: Session, planned: PlannedVariant) -> Score:
        from compilers.profiling import scoring

        model, held_out = planned.answering(self.materials.model), self.materials.splits.held_out
        return scoring.judge(session, model, held_out, self._wanted)

    @cached_property
    def _wanted(self) -> Mapping[str, Array] | None:
        held_out = self.materials.splits.held_out
        return reference.answers(self.plan, self.cache, self.materials, held_out)
