"""Try one recipe: make its variants, and see on validation rows how accurate and fast they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from msgspec import Struct, convert, structs, to_builtins

from compilers.cache import Cache
from compilers.digests import code_sha256, versions
from compilers.materials import Materials
from compilers.plan import Plan, PlannedVariant, extend
from compilers.profiling import host, race, reference, scoring
from compilers.profiling.profiles import MEASURED_WITH
from compilers.recipe import CPU, Way
from compilers.search.space import Steps
from compilers.steps import Step, produce, read_artifact, to_artifact
from model_repo import runtime
from model_repo.errors import BadInput, Corrupt, FareboxError, MissingExtra, Unsupported
from model_repo.records import PassStep
from model_repo.tensors import Array

NAME = "tried"
"""What the variants of a trial are called; none of them is shelved."""


class Measured(Struct, frozen=True, forbid_unknown_fields=True):
    """One artifact of a trial, on validation rows.

    lone_s: median device-seconds of a lone row, which stands in for its p99: a few runs show no
    tail. item_s: those of one row in the cheapest of the batches tried.
    """

    target: str
    artifact_format: str
    accuracy: float
    lone_s: float
    item_s: float


class Trial(Struct, frozen=True, forbid_unknown_fields=True):
    """How a trial ended: what was measured of each format, or why there is nothing."""

    measured: tuple[Measured, ...] = ()
    failed: str = ""


class Trials:
    """Runs trials, each of them once: the steps and the outcome are kept in the step cache."""

    def __init__(self, plan: Plan, cache: Cache, materials: Materials) -> None:
        only = {plan.recipe.reference: Way((), (CPU,))}
        recipe = structs.replace(plan.recipe, variants=only, targets=(CPU,))
        self._plan = replace(plan, recipe=recipe)
        self._cache, self._materials = cache, replace(materials, recall=cache.recall)
        self.paid = 0
        """Trials that were not found from before."""

    def admit(self, steps: Steps) -> Steps | None:
        """The steps with every option spelt out; None for what a recipe could not say."""
        try:
            planned = self._planned(steps)
            for chosen in planned[0].passes:
                check: Callable[..., None] = getattr(chosen.module, "check", _accept)
                check(chosen.options, self._materials.source)
        except BadInput:
            return None
        return tuple(chosen.record for chosen in planned[0].passes)

    def run(self, steps: Steps) -> Trial:
        """Make and measure them, or find what was measured; raises what no recipe is to blame for.

        Raises FareboxError for a full disk or a missing extra, and whatever a library may raise.
        """
        entrants: list[tuple[PlannedVariant, Step]] = []
        missing: list[MissingExtra] = []
        for planned in self._planned(steps):
            try:
                runtime.load(planned.artifact_format).check()
                entrants.append((planned, to_artifact(self._plan, planned)))
            except MissingExtra as error:
                missing.append(error)
        if not entrants:
            raise missing[0]
        depends_on = (
            "trial",
            [step.digest for _, step in entrants],
            code_sha256("compilers.profiling.race"),
            code_sha256("compilers.profiling.scoring"),
            self._plan.recipe.batch_sizes,
            host.machine(),
            versions(MEASURED_WITH),
        )
        kept = self._cache.recall(depends_on, lambda: to_builtins(self._try(entrants)))
        return convert(kept, Trial)

    def _planned(self, steps: Steps) -> list[PlannedVariant]:
        extended = extend(self._plan, {NAME: steps})
        return [planned for planned in extended.variants if planned.name == NAME]

    def _try(self, entrants: Sequence[tuple[PlannedVariant, Step]]) -> Trial:
        self._materials.say("a new trial")  # raises if there is no time for one
        made: dict[str, tuple[PlannedVariant, Path]] = {}
        reason = ""
        for planned, step in entrants:
            try:
                folder = produce(step, self._cache, self._materials)
            except (MissingExtra, Corrupt):
                raise
            except (BadInput, Unsupported) as error:
                self._cache.refuse_if_full(error)  # which no recipe is to blame for, ever
                self._materials.say("a format failed")  # raises if time was what it lacked
                reason = str(error)
                continue
            made[planned.key.variant] = planned, folder / read_artifact(folder).path
        trial = Trial(tuple(self._measure(made))) if made else Trial(failed=reason)
        self.paid += 1
        return trial

    def _measure(self, made: Mapping[str, tuple[PlannedVariant, Path]]) -> list[Measured]:
        self._materials.say("measuring")
        model = next(iter(made.values()))[0].answering(self._materials.model)
        rows = self._materials.splits.validation
        racing = {name: (path, each.artifact_format) for name, (each, path) in made.items()}
        sizes = self._plan.recipe.batch_sizes
        times = race.run(racing, model, rows, sizes, self._plan.recipe.seed)
        found = []
        for name, (planned, path) in made.items():
            session = runtime.load(planned.artifact_format).open_session(path, model)
            try:
                score = scoring.judge(session, model, rows, self._wanted)
            finally:
                session.close()
            target, lone_item = planned.target.TARGET, _lone_and_item(times[name])
            found.append(Measured(target, planned.artifact_format, score.value, *lone_item))
        return found

    def race(
        self, entrants: Mapping[str, tuple[Steps, Measured]]
    ) -> dict[str, tuple[float, float]]:
        """(lone_s, item_s) of recipes tried before, each in the format given, timed in turns."""
        racing, apart = {}, []
        model, rows = self._materials.model, self._materials.splits.validation
        for name, (steps, best) in entrants.items():
            planned = next(
                each
                for each in self._planned(steps)
                if (each.target.TARGET, each.artifact_format) == (best.target, best.artifact_format)
            )
            folder = produce(to_artifact(self._plan, planned), self._cache, self._materials)
            racing[name] = folder / read_artifact(folder).path, best.artifact_format
            if not planned.answering(model).batches:
                apart.append(name)
        recipe = self._plan.recipe
        times = race.run(racing, model, rows, recipe.batch_sizes, recipe.seed, apart=apart)
        return {name: _lone_and_item(times[name]) for name in racing}

    @cached_property
    def _wanted(self) -> Mapping[str, Array] | None:
        validation = self._materials.splits.validation
        return reference.answers(self._plan, self._cache, self._materials, validation)


def _lone_and_item(times: Mapping[int, float]) -> tuple[float, float]:
    """Device-seconds of a lone row, and of one row in the cheapest batch, by batch size."""
    return times[min(times)], min(spent / size for size, spent in times.items())


def scaled(steps: Steps, share: float) -> Steps:
    """The steps with that share of their epochs, at least one of them; 0 leaves none."""
    return tuple(_scaled(step, share) for step in steps)


def _scaled(step: PassStep, share: float) -> PassStep:
    epochs = step.options.get("epochs", 0)
    if not epochs:
        return step
    return PassStep(
        step.name, {**step.options, "epochs": max(1 if share else 0, round(epochs * share))}
    )


def reason_of(error: Exception) -> str:
    """One line."""
    said = " ".join(str(error).split())
    return said if isinstance(error, FareboxError) else f"{type(error).__name__}: {said}"


def _accept(options: object, source: object) -> None:
    """Nothing to check."""
