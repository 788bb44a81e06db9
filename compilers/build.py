"""Compile a plan: make, measure and shelve every variant that is not on the shelf yet."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from compilers import example, forms, pending
from compilers.cache import Cache
from compilers.cascades import cascading
from compilers.digests import versions
from compilers.materials import Materials, gather
from compilers.pending import Pending
from compilers.plan import Plan, PlannedVariant
from compilers.profiling import race
from compilers.profiling.profiles import MEASURED_WITH, Profiler
from compilers.progress import Progress
from compilers.sensitivity import record
from compilers.steps import Step, produce, read_artifact
from model_repo import runtime
from model_repo.errors import FareboxError, MissingDevice, MissingExtra, Unsupported
from model_repo.findings import note_skip
from model_repo.records import Skip, Variant, VariantKey
from model_repo.store import Store
from model_repo.table import short

STOPPED = "the compile was stopped before it was made: run it again, it goes on from there"


def compile_plan(plan: Plan, store: Store, progress: Progress) -> dict[str, str]:
    """Shelve what is missing, the reference first; returns variant -> why it could not be made.

    One variant's failure does not lose the others; that of the reference is raised. A format that
    cannot hold a variant, or is dearer than another at every batch size, is no failure: the shelf
    keeps the reason.
    Raises BadInput for a source or data the recipe does not fit, or if the shelf holds other
    weights under this version, Unavailable if another command writes to the repository, and
    FareboxError if the disk is full.
    """
    found = pending.find(plan, store)
    if not found and cascading.is_done(plan, store):
        return {}
    # Asked before anything runs, so that a missing library is not found out at the end.
    versions(["tqdm", *MEASURED_WITH])
    materials = gather(plan, progress.say)
    pending.check_signature(store, materials.model)
    with store.writing():
        # Asked again, since another command may have written before this one held the lock.
        failures = Build(plan, store, materials, progress).run(pending.find(plan, store))
        return failures | cascading.run(plan, store, materials, progress)


@dataclass
class Build:
    """One run over the missing variants of a plan, holding the repository for writing."""

    plan: Plan
    store: Store
    materials: Materials
    progress: Progress
    failures: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cache = Cache(self.store.root)
        self.cache.sweep()
        self.materials = replace(self.materials, recall=self.cache.recall)
        self.profiler = Profiler(self.plan, self.cache, self.materials, self.progress)

    def run(self, found: Pending) -> dict[str, str]:
        """Make each; returns why those that failed did, unless it is the reference."""
        self.progress.skip(len(self.plan.variants) - len(found.steps) - len(found.missing))
        self._note_begun(found)
        alike: dict[tuple[str, str], list[PlannedVariant]] = {}
        for planned in self.plan.variants:
            alike.setdefault((planned.name, planned.target.TARGET), []).append(planned)
        for formats in alike.values():
            self._make_all(formats, found.steps)
            if formats[0].kind == "reference":
                record.shelve(self.plan, self.store, self.cache, self.materials, self.progress)
        recipe = self.plan.recipe
        for name in found.stale:
            note_skip(self.store, recipe.model, recipe.version, name, None)
        for key, skip in found.missing.items():
            self._skip(key, skip)
        return self.failures

    def _note_begun(self, found: Pending) -> None:
        """Should this run be killed, the shelf says so of each that it did not come to."""
        recipe = self.plan.recipe
        there = set(self.store.keys(recipe.model, recipe.version))
        for key in found.steps.keys() - there:
            self._note(key, Skip(STOPPED))

    def _make_all(
        self, formats: Sequence[PlannedVariant], steps: Mapping[VariantKey, Step]
    ) -> None:
        """Shelve one model in those of its formats that no other beats at every batch size."""
        made: dict[VariantKey, Path] = {}
        for planned in formats:
            if planned.key in steps:
                with self._surviving(planned):
                    step = steps[planned.key]
                    self._foresee(planned)
                    made[planned.key] = produce(step, self.cache, self.materials)
        for planned in formats:
            if planned.key in made and (twin := self._twin(planned, made[planned.key])):
                del made[planned.key]
                self._settle(planned, f"the same file as {twin}", twin)
        lost = self._race(formats, made)
        for planned in formats:
            if planned.key not in made:
                continue
            step = steps[planned.key]
            if planned.key in lost:
                self._settle(planned, lost[planned.key])
                continue
            with self._surviving(planned):
                self.progress.end(_line(self._shelve(planned, step, made[planned.key])))

    def _foresee(self, planned: PlannedVariant) -> None:
        ask = getattr(planned.target, "foresee", None)
        if ask is not None:
            network, work = self.plan.recipe.source.model, self.materials.work({})
            ask(network, planned.passes, planned.options, work)

    @contextmanager
    def _surviving(self, planned: PlannedVariant) -> Iterator[None]:
        """Note why a variant could not be made, and go on, unless it is the reference."""
        name = planned.key.variant
        self.progress.begin(name)
        try:
            yield
        except Exception as error:  # a pass, a library or the network may raise anything
            self.cache.refuse_if_full(error)
            if planned.kind == "reference":
                raise
            if isinstance(error, Unsupported):
                self._settle(planned, str(error))
                return
            if isinstance(error, MissingExtra | MissingDevice):
                self._skip(planned.key, Skip(str(error)))
                return
            self.failures[name] = _reason(error)
            self._note(planned.key, Skip(self.failures[name]))
            self.progress.remark(f"{name} failed: {self.failures[name]}")
            self.progress.end()

    def _twin(self, planned: PlannedVariant, folder: Path) -> str | None:
        """Another variant for the target with the very same artifact, unless this is there too."""
        shelved = self.store.variants(planned.key.model, planned.key.version)
        same = (planned.target.TARGET, read_artifact(folder).sha256)
        alike = [v.key for v in shelved if (v.target, v.artifact.sha256) == same]
        if planned.kind == "reference" or planned.key in alike or not alike:
            return None
        return alike[0].variant

    def _settle(self, planned: PlannedVariant, reason: str, twin: str = "") -> None:
        """Skip it for as long as nothing that speaks against it changes, such as its twin."""
        why = pending.settled(planned, self.plan)
        self._skip(planned.key, Skip(reason, pending.settled_by(twin, why) if twin else why))

    def _skip(self, key: VariantKey, skip: Skip) -> None:
        self._note(key, skip)
        self.progress.begin(key.variant)
        self.progress.end(f"{key} is not shelved: {skip.reason}")

    def _note(self, key: VariantKey, skip: Skip | None) -> None:
        note_skip(self.store, key.model, key.version, key.variant, skip)

    def _race(
        self, formats: Sequence[PlannedVariant], made: Mapping[VariantKey, Path]
    ) -> dict[VariantKey, str]:
        """Who is not worth shelving, and why; the reference and what is on the shelf stay there."""
        entrants, kept = {}, set()
        for planned in formats:
            key = planned.key
            if key in made:
                artifact = read_artifact(made[key])
                entrants[key.variant] = made[key] / artifact.path, artifact.format
            elif key.variant not in self.failures and key in self.store.keys(
                key.model, key.version
            ):
                shelved = self.store.variant(key)
                entrants[key.variant] = self.store.artifact(shelved), shelved.artifact.format
            if key not in made or planned.kind == "reference":
                kept.add(key.variant)
        if not made or len(entrants) < 2 or not _run_here(formats):
            return {}
        self.progress.say("racing its formats")
        recipe, data = self.plan.recipe, self.materials.splits.held_out
        model = formats[0].answering(self.materials.model)
        try:
            times = race.run(entrants, model, data, recipe.batch_sizes, recipe.seed)
        except FareboxError as error:  # whichever cannot run fails by itself when it is measured
            self.progress.remark(f"its formats could not be raced: {error}")
            return {}
        lost = race.losers(times, kept)
        return {key: lost[key.variant] for key in made if key.variant in lost}

    def _shelve(self, planned: PlannedVariant, step: Step, folder: Path) -> Variant:
        artifact = read_artifact(folder)
        known = self.profiler.profile(planned, step, folder, artifact)
        variant = Variant(
            planned.key,
            planned.kind,
            planned.target.TARGET,
            artifact,
            known.profile,
            tuple(chosen.record for chosen in planned.passes),
            step.digest,
            forms.facts(folder).notes | known.notes,
        )
        model = self.materials.model
        self.store.commit_model(model, example.request(model, self.materials.splits.held_out))
        self.store.commit(variant, folder / artifact.path)
        self._note(planned.key, None)
        return variant


def _run_here(formats: Sequence[PlannedVariant]) -> bool:
    """Whether times taken here hold for the target of these."""
    openers = (runtime.load(planned.artifact_format) for planned in formats)
    return all(opener.device() == formats[0].target.TARGET for opener in openers)


def _reason(error: Exception) -> str:
    if isinstance(error, FareboxError):
        return str(error)
    # A defect, ours or a library's: its place in the code is of use.
    traceback.print_exception(error)
    return f"{type(error).__name__}: {error}"


def _line(variant: Variant) -> str:
    profile = variant.profile
    best = profile.best_point
    device_us = best.device_s / best.batch_size * 1e6
    times = f"p99 {short(profile.latency[0].p99_s * 1e3, 3)} ms, {short(device_us, 1)} device-us"
    return (
        f"{variant.key}: {profile.accuracy:.4f} "
        f"[{profile.accuracy_low:.4f}, {profile.accuracy_high:.4f}], {times} an item"
        f"{'' if profile.source == 'measured' else f' ({profile.source})'}"
    )
