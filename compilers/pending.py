"""What of a plan is still to be made: neither on the shelf nor known to be of no use there."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from compilers.cascades.cascading import ALL
from compilers.digests import digest
from compilers.plan import TARGETS, Plan, PlannedVariant
from compilers.profiling import host
from compilers.search.found import is_found
from compilers.steps import Step, to_artifact
from model_repo import plugins, runtime
from model_repo.errors import BadInput, Corrupt, MissingDevice, MissingExtra, NotFound
from model_repo.findings import read_skips
from model_repo.records import Model, Skip, Variant, VariantKey
from model_repo.store import Store


@dataclass
class Pending:
    """The variants to make, each with its last step, and what it takes an extra for.

    missing: of those only what the shelf does not say yet. To find out costs nothing, so none of
    them is ever settled. stale: of which the shelf says why they are not there, though neither this
    recipe nor a search asks for them.
    """

    steps: dict[VariantKey, Step] = field(default_factory=dict)
    missing: dict[VariantKey, Skip] = field(default_factory=dict)
    stale: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.steps or self.missing or self.stale)


def find(plan: Plan, store: Store) -> Pending:
    """What is not shelved whole, was measured at other batch sizes, or is not settled.

    Raises BadInput if the shelf holds something else under a variant's name, and MissingExtra if
    the reference takes an extra that is not there.
    """
    found, recipe = Pending(), plan.recipe
    skips = read_skips(store, recipe.model, recipe.version)
    shelved = store.keys(recipe.model, recipe.version)
    asked = {planned.key.variant for planned in plan.variants} | {ALL}
    # What other targets lack is told by whoever asks for those.
    others = set(plugins.names(TARGETS)) - {aim.name for aim in recipe.targets}
    found.stale = {
        name
        for name in skips
        if name not in asked and not is_found(name) and name.partition("-")[0] not in others
    }
    for planned in plan.variants:
        skip = skips.get(planned.key.variant)
        try:
            step = to_artifact(plan, planned)
            with contextlib.suppress(MissingDevice):  # it is compiled for another machine then
                runtime.load(planned.artifact_format).check()
        except MissingExtra as error:
            if planned.kind == "reference":
                raise
            if planned.key not in shelved and skip != Skip(str(error)):
                found.missing[planned.key] = Skip(str(error))
            continue
        is_settled = skip is not None and _is_settled(skip, settled(planned, plan), shelved)
        if not is_settled and not _is_shelved(planned, step, plan, store):
            found.steps[planned.key] = step
    return found


def settled(planned: PlannedVariant, plan: Plan) -> str:
    """What its being of no use depends on: how it and its rivals are made, where it is tried."""
    step = to_artifact(plan, planned)
    rivals = sorted(_digests_of_rivals(planned, plan))
    return digest(step.digest, "settled", rivals, plan.recipe.batch_sizes, host.machine())


def settled_by(twin: str, why: str) -> str:
    """The digest of a skip that holds only while `twin` is shelved; why: what `settled` gives."""
    return digest(why, "twin", twin)


def _is_settled(skip: Skip, why: str, shelved: Iterable[VariantKey]) -> bool:
    return skip.digest == why or skip.digest in {settled_by(k.variant, why) for k in shelved}


def _digests_of_rivals(planned: PlannedVariant, plan: Plan) -> Iterator[str]:
    """The last steps of the same model in its other formats, those that can be made here."""
    for other in plan.variants:
        is_same = (other.name, other.target.TARGET) == (planned.name, planned.target.TARGET)
        if is_same and other.key != planned.key:
            with contextlib.suppress(MissingExtra):
                yield to_artifact(plan, other).digest


def _is_shelved(planned: PlannedVariant, step: Step, plan: Plan, store: Store) -> bool:
    """Whether it is there, whole, and measured at the recipe's batch sizes; raises BadInput."""
    recipe = plan.recipe
    try:
        shelved = store.variant(planned.key)
    except NotFound:
        return False
    model = store.model(recipe.model, recipe.version)
    if shelved.digest != step.digest or model.metric != recipe.metric:
        refuse(planned.key, recipe.model, recipe.version, store)
    sizes = tuple(point.batch_size for point in shelved.profile.latency)
    wanted = recipe.batch_sizes if planned.answering(model).batches else (1,)
    return sizes == wanted and _is_whole(shelved, store)


def _is_whole(shelved: Variant, store: Store) -> bool:
    try:
        store.artifact(shelved)
    except Corrupt:
        return False
    return True


def check_signature(store: Store, model: Model) -> None:
    """Raise BadInput if the shelf holds this version with another signature."""
    try:
        shelved = store.model(model.name, model.version)
    except NotFound:
        return
    if shelved != model:
        refuse(f"{model.name}/{model.version}", model.name, model.version, store)


def refuse(what: VariantKey | str, model: str, version: str, store: Store) -> None:
    """Raise BadInput, as what is on the shelf is never replaced by something else."""
    raise BadInput(
        f"{what} is on the shelf, made from another recipe, source, code or library version: raise "
        f"'version' in the recipe, or run 'farebox remove {model}/{version} "
        f"--repository {shlex.quote(str(store.root))}' first"
    )
