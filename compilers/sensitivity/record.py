"""Measure the sensitivity of the reference's layers once, and keep it on the shelf."""

from __future__ import annotations

from compilers import forms
from compilers.cache import Cache
from compilers.digests import versions
from compilers.materials import Materials
from compilers.plan import Plan
from compilers.progress import Progress
from compilers.sensitivity import layers, pruning, quantization
from compilers.steps import produce, to_artifact
from model_repo import sensitivity
from model_repo.errors import Corrupt
from model_repo.sensitivity import LayerLoss, Sensitivity
from model_repo.store import Store


def shelve(
    plan: Plan, store: Store, cache: Cache, materials: Materials, progress: Progress
) -> None:
    """Measure the layers of a recipe that has passes, unless the shelf tells already.

    The reference is on the shelf. What cannot be measured is remarked: no variant depends on it.
    """
    recipe = plan.recipe
    if len(recipe.variants) < 2 or _is_known(store, recipe.model, recipe.version):
        return
    progress.begin("layers")
    try:
        found = _measure(plan, cache, materials)
    except Exception as error:  # a library may raise anything on a model it cannot take apart
        reason = " ".join(str(error).split())
        progress.remark(f"the sensitivity of the layers is not known: {reason}")
        return
    sensitivity.write(store, recipe.model, recipe.version, found)


def _is_known(store: Store, model: str, version: str) -> bool:
    try:
        return sensitivity.read(store, model, version) is not None
    except Corrupt:  # it is measured, or found in the step cache, and written again
        return False


def _measure(plan: Plan, cache: Cache, materials: Materials) -> Sensitivity:
    last = to_artifact(plan, plan.variants[0])
    assert last.parent, "an artifact is made from something"
    first = last
    while first.parent:
        first = first.parent
    work = materials.work({})
    network = forms.load(produce(first, cache, materials), materials.source, materials.seed)
    graph = forms.load(produce(last.parent, cache, materials), materials.source, materials.seed)
    by_node = quantization.losses(graph, work)
    by_name = pruning.losses(network.module, work)
    titles = {layer.name: layer.title for layer in layers.find(graph)}
    nodes = {title: node for node, title in titles.items()}
    return Sensitivity(
        materials.model.metric,
        tuple(LayerLoss(titles[node], loss, node) for node, loss in by_node.items()),
        tuple(LayerLoss(name, loss, nodes.get(name, "")) for name, loss in by_name.items()),
        rows=min(len(work.calibration), pruning.ROWS),  # as many for int8
        seed=materials.seed,
        versions=versions(sorted({*quantization.LIBRARIES, *pruning.LIBRARIES})),
    )
