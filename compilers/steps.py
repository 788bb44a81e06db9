"""The steps from a recipe's source to one artifact, each named by all that goes into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from compilers import forms
from compilers.cache import Cache
from compilers.chain import ChosenPass
from compilers.contracts import Form, Job
from compilers.digests import code_sha256, digest, versions, versions_of_source
from compilers.forms import TorchModel
from compilers.graph import export, parity
from compilers.materials import Materials
from compilers.plan import Plan, PlannedVariant
from compilers.recipe import Recipe
from compilers.training.loop import train
from compilers.training.yardstick import check_weights
from model_repo.records import Artifact

TRAINED_WITH = ("numpy", "safetensors", "torch")
ARTIFACT = "artifact.json"


@dataclass(frozen=True)
class Step:
    """One computation: it reads its parent's finished folder and fills its own.

    form: of the model it leaves. run: `(parent's folder, own folder, materials)`.
    """

    digest: str
    form: Form
    parent: Step | None
    run: Callable[[Path, Path, Materials], None]


def produce(step: Step, cache: Cache, materials: Materials) -> Path:
    """The folder of a finished step, computing what is missing of it and of those before it."""
    place = cache.find(step.digest)
    if place is None:
        parent = produce(step.parent, cache, materials) if step.parent else Path()
        loading = partial(network, step, cache, materials) if step.parent else None
        with cache.writing(step.digest) as folder:
            step.run(parent, folder, replace(materials, reference=loading))
        place = cache.find(step.digest)
        assert place, "a step that ran to its end has a folder"
    return place


def network(step: Step, cache: Cache, materials: Materials) -> Any:
    """The torch network of the first of the steps that lead to `step`."""
    while step.parent:
        step = step.parent
    place = produce(step, cache, materials)
    return forms.load(place, materials.source, materials.seed).module


def to_artifact(plan: Plan, variant: PlannedVariant) -> Step:
    """The last step of a variant: source, passes, target; nothing is computed yet."""
    step = _source_step(plan)
    for chosen in variant.passes:
        step = _pass_step(_in_form(step, chosen.module.TAKES), chosen, plan.recipe)
    forms_taken = variant.format.forms
    form = step.form if step.form in forms_taken else forms_taken[-1]
    made = _target_step(_in_form(step, form), variant, plan.recipe)
    return _finish_step(made, variant, plan.recipe) if hasattr(variant.target, "finish") else made


def _source_step(plan: Plan) -> Step:
    recipe = plan.recipe
    name = digest(
        "source",
        recipe.source,
        recipe.splits,
        recipe.seed,
        plan.source_sha256,
        code_sha256("compilers.training.loop"),
        versions(TRAINED_WITH) | versions_of_source(recipe.source.libraries),
    )
    return Step(name, "torch", None, partial(_run_source, plan))


def _run_source(plan: Plan, parent: Path, folder: Path, materials: Materials) -> None:
    spec = plan.recipe.source
    work = materials.work({})
    module = materials.source.build(spec.model, materials.seed)
    check_weights(module, spec.model)
    if spec.training.epochs:
        accuracy = train(module, spec.training, work, spec.model)
        work.notes["source.validation_accuracy"] = accuracy
    forms.save(TorchModel(spec.model, module), work.notes, folder)


def _pass_step(parent: Step, chosen: ChosenPass, recipe: Recipe) -> Step:
    name = digest(
        parent.digest,
        "pass",
        chosen.record,
        recipe.seed,
        recipe.metric,
        code_sha256(f"compilers.passes.{chosen.name}"),
        versions(chosen.module.LIBRARIES),
    )
    return Step(name, chosen.module.GIVES, parent, partial(_run_pass, chosen))


def _run_pass(chosen: ChosenPass, parent: Path, folder: Path, materials: Materials) -> None:
    work = materials.work(forms.facts(parent).notes)
    model = forms.load(parent, materials.source, materials.seed)
    forms.save(chosen.module.apply(model, chosen.options, work), work.notes, folder)


def _in_form(step: Step, form: Form) -> Step:
    if step.form == form:
        return step
    libraries = versions(export.LIBRARIES)
    name = digest(step.digest, "export", code_sha256("compilers.graph.export"), libraries)
    return Step(name, "onnx", step, _run_export)


def _run_export(parent: Path, folder: Path, materials: Materials) -> None:
    work = materials.work(forms.facts(parent).notes)
    work.say("exporting to ONNX")
    model: Any = forms.load(parent, materials.source, materials.seed)
    graph = export.to_onnx(model, work)
    parity.check(parity.runner(model), parity.runner(graph), materials)
    forms.save(graph, work.notes, folder)


def _target_step(parent: Step, planned: PlannedVariant, recipe: Recipe) -> Step:
    name = digest(parent.digest, "target", *_asked(planned))
    return Step(name, parent.form, parent, partial(_run_target, planned, recipe))


def _finish_step(parent: Step, planned: PlannedVariant, recipe: Recipe) -> Step:
    name = digest(parent.digest, "finish", *_asked(planned))
    return Step(name, parent.form, parent, partial(_run_finish, planned, recipe))


def _asked(planned: PlannedVariant) -> tuple[Any, ...]:
    """What shapes an artifact besides the model; its seed is in that, batch sizes shape none."""
    target = planned.target
    return (
        target.TARGET,
        planned.artifact_format,
        msgspec.to_builtins(planned.options),
        code_sha256(f"compilers.targets.{target.TARGET}"),
        versions(planned.format.libraries),
    )


def job(planned: PlannedVariant, recipe: Recipe, materials: Materials) -> Job:
    """What the target of a planned variant is asked for."""
    signature = planned.answering(materials.model)
    sizes = recipe.batch_sizes if signature.batches else (1,)
    return Job(planned.options, signature, sizes, recipe.seed, materials.say)


def _run_target(
    planned: PlannedVariant, recipe: Recipe, parent: Path, folder: Path, materials: Materials
) -> None:
    materials.say(f"lowering to {planned.artifact_format}")
    model = forms.load(parent, materials.source, materials.seed)
    asked = job(planned, recipe, materials)
    artifact = planned.target.lower(model, planned.artifact_format, folder, asked)
    # A target that keeps every bit of a model defines no tolerance.
    tolerance: Any = getattr(planned.target, "tolerance", lambda *_: 0.0)
    least = tolerance(artifact.format, planned.options)
    parity.check_artifact(model, folder / artifact.path, artifact.format, materials, least)
    _note(parent, folder, artifact)


def _run_finish(
    planned: PlannedVariant, recipe: Recipe, parent: Path, folder: Path, materials: Materials
) -> None:
    path = parent / read_artifact(parent).path
    target: Any = planned.target
    _note(parent, folder, target.finish(path, folder, job(planned, recipe, materials)))


def _note(parent: Path, folder: Path, artifact: Artifact) -> None:
    notes = forms.facts(parent).notes
    (folder / forms.FACTS).write_bytes(msgspec.json.encode(forms.Facts(notes)))
    (folder / ARTIFACT).write_bytes(msgspec.json.encode(artifact))


def read_artifact(folder: Path) -> Artifact:
    """The record of the artifact in the folder of a variant's last step."""
    return msgspec.json.decode((folder / ARTIFACT).read_bytes(), type=Artifact)
