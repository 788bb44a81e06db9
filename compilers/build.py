"""Compile a plan: make, measure and shelve every variant that is not on the shelf yet."""

from __future__ import annotations

import shlex
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec

from compilers import example, forms
from compilers.cache import Cache
from compilers.digests import code_sha256, digest, versions
from compilers.materials import Materials, gather
from compilers.plan import Plan, PlannedVariant
from compilers.progress import Progress
from compilers.steps import Step, produce, read_artifact, to_artifact
from model_repo import runtime
from model_repo.errors import BadInput, Corrupt, FareboxError, NotFound
from model_repo.records import Model, Profile, Variant, VariantKey
from model_repo.store import Store
from model_repo.tensors import Array

PROFILE = "profile.json"
MEASURED_WITH = ("numpy", "onnxruntime", "scipy")


def compile_plan(plan: Plan, store: Store, progress: Progress) -> dict[str, str]:
    """Shelve what is missing, the reference first; returns variant -> why it could not be made.

    One variant's failure does not lose the others; that of the reference is raised.
    Raises BadInput for a source or data the recipe does not fit, or if the shelf holds other
    weights under this version, and Unavailable if another command writes to the repository.
    """
    if not _missing(plan, store):
        return {}
    # Asked before anything runs, so that a missing library is not found out at the end.
    versions(["tqdm", *MEASURED_WITH])
    materials = gather(plan, progress.say)
    _check_signature(store, materials.model)
    with store.writing():
        # Asked again, since another command may have written before this one held the lock.
        missing = _missing(plan, store)
        progress.skip(len(plan.variants) - len(missing))
        return Build(plan, store, materials, progress).run(missing)


def _missing(plan: Plan, store: Store) -> list[tuple[PlannedVariant, Step]]:
    """What is not shelved whole, or was measured at other batch sizes.

    Raises BadInput if the shelf holds something else under a variant's name.
    """
    found, recipe = [], plan.recipe
    is_other_metric = (recipe.model, recipe.version) in store.versions() and (
        store.model(recipe.model, recipe.version).metric != recipe.metric
    )
    for planned in plan.variants:
        step = to_artifact(plan, planned)
        try:
            shelved = store.variant(planned.key)
        except NotFound:
            found.append((planned, step))
            continue
        if shelved.digest != step.digest or is_other_metric:
            _refuse(planned.key, recipe.model, recipe.version, store)
        is_measured = tuple(p.batch_size for p in shelved.profile.latency) == recipe.batch_sizes
        if not is_measured or not _is_whole(shelved, store):
            found.append((planned, step))
    return found


def _is_whole(shelved: Variant, store: Store) -> bool:
    try:
        store.artifact(shelved)
    except Corrupt:
        return False
    return True


def _check_signature(store: Store, model: Model) -> None:
    try:
        shelved = store.model(model.name, model.version)
    except NotFound:
        return
    if shelved != model:
        _refuse(f"{model.name}/{model.version}", model.name, model.version, store)


def _refuse(what: VariantKey | str, model: str, version: str, store: Store) -> None:
    raise BadInput(
        f"{what} is on the shelf, made from another recipe, source, code or library version: raise "
        f"'version' in the recipe, or run 'farebox remove {model}/{version} "
        f"--repository {shlex.quote(str(store.root))}' first"
    )


@dataclass
class Build:
    """One run over the missing variants of a plan, holding the repository for writing."""

    plan: Plan
    store: Store
    materials: Materials
    progress: Progress

    def __post_init__(self) -> None:
        self.cache = Cache(self.store.root)
        self.cache.sweep()
        self.materials = replace(self.materials, recall=self.cache.recall)

    def run(self, missing: list[tuple[PlannedVariant, Step]]) -> dict[str, str]:
        """Make each; returns why those that failed did, unless it is the reference."""
        failures: dict[str, str] = {}
        for planned, step in missing:
            name = planned.key.variant
            self.progress.begin(name)
            try:
                variant = self._make(planned, step)
            except Exception as error:  # a pass, a library or the network may raise anything
                if planned.kind == "reference":
                    raise
                failures[name] = _reason(error)
                self.progress.remark(f"{name} failed: {failures[name]}")
                self.progress.end()
                continue
            self.progress.end(_line(variant))
        return failures

    def _make(self, planned: PlannedVariant, step: Step) -> Variant:
        folder = produce(step, self.cache, self.materials)
        artifact = read_artifact(folder)
        profile = self._profile(step, folder / artifact.path, artifact.format)
        variant = Variant(
            planned.key,
            planned.kind,
            planned.target.TARGET,
            artifact,
            profile,
            tuple(chosen.record for chosen in planned.passes),
            step.digest,
            forms.facts(folder).notes,
        )
        model = self.materials.model
        self.store.commit_model(model, example.request(model, self.materials.splits.held_out))
        self.store.commit(variant, folder / artifact.path)
        return variant

    def _profile(self, step: Step, path: Path, artifact_format: str) -> Profile:
        """Measured once for each artifact, data, and way of measuring."""
        name = digest(
            step.digest,
            "profile",
            self.materials.model,
            self.plan.recipe.batch_sizes,
            code_sha256("compilers.measure"),
            code_sha256("compilers.scoring"),
            versions(MEASURED_WITH),
        )
        place = self.cache.find(name)
        if place is None:
            profile = self._measure(path, artifact_format)
            with self.cache.writing(name) as folder:
                (folder / PROFILE).write_bytes(msgspec.json.encode(profile))
            return profile
        return msgspec.json.decode((place / PROFILE).read_bytes(), type=Profile)

    def _measure(self, path: Path, artifact_format: str) -> Profile:
        from compilers import measure, scoring

        held_out = self.materials.splits.held_out
        judge = partial(
            scoring.judge,
            model=self.materials.model,
            data=held_out,
            reference=self._reference_answers(),
        )
        self.progress.say("measuring")
        return measure.profile(
            path,
            artifact_format,
            self.materials.model,
            held_out,
            score=judge,
            batch_sizes=self.plan.recipe.batch_sizes,
            seed=self.plan.recipe.seed,
            progress=lambda text: self.progress.say(f"measuring {text}"),
        )

    def _reference_answers(self) -> Mapping[str, Array] | None:
        """The reference's outputs on the held-out rows, if fidelity to them is what is scored."""
        from compilers import calls

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


def _reason(error: Exception) -> str:
    if isinstance(error, FareboxError):
        return str(error)
    # A defect, ours or a library's: its place in the code is of use.
    traceback.print_exception(error)
    return f"{type(error).__name__}: {error}"


def _line(variant: Variant) -> str:
    profile = variant.profile
    return (
        f"{variant.key}: {profile.accuracy:.4f} "
        f"[{profile.accuracy_low:.4f}, {profile.accuracy_high:.4f}], "
        f"p99 {profile.latency[0].p99_s * 1e3:.3f} ms, "
        f"{profile.best_point.device_s / profile.best_point.batch_size * 1e6:.1f} device-us an item"
    )
