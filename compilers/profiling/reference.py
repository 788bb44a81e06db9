"""What the reference of a plan answers, for whatever is scored by fidelity to it."""

from __future__ import annotations

from collections.abc import Mapping

from compilers.cache import Cache
from compilers.datasets import Data
from compilers.materials import Materials
from compilers.plan import Plan
from compilers.steps import produce, read_artifact, to_artifact
from model_repo import runtime
from model_repo.tensors import Array


def answers(
    plan: Plan, cache: Cache, materials: Materials, rows: Data
) -> Mapping[str, Array] | None:
    """Its outputs for `rows`, in order, by name; None for a metric that asks the labels."""
    from compilers.profiling import calls

    model = materials.model
    if model.metric == "accuracy":
        return None
    folder = produce(to_artifact(plan, plan.variants[0]), cache, materials)
    artifact = read_artifact(folder)
    session = runtime.load(artifact.format).open_session(folder / artifact.path, model)
    try:
        return calls.compute(session, model, rows)
    finally:
        session.close()
