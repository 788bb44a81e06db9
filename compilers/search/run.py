"""Search a recipe's repository under its lock, and say what is worth compiling in full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from compilers.cache import Cache
from compilers.materials import gather
from compilers.plan import Plan, extend
from compilers.search import confirm, found, space
from compilers.search.alike import name_of
from compilers.search.budget import spell
from compilers.search.explore import Prices, Search
from compilers.search.halving import TOP
from compilers.search.space import Steps
from compilers.search.trials import Trials
from compilers.search.watch import Watch
from model_repo.store import Store


@dataclass(frozen=True)
class Findings:
    """variants: name -> steps of what is worth shelving. plan: the recipe's with these.

    summary: one sentence on what was done.
    """

    variants: dict[str, Steps]
    plan: Plan
    summary: str


def search(plan: Plan, store: Store, watch: Watch, most: int, usd_per_device_s: Prices) -> Findings:
    """Explore until the watch says that time is up; the recipe's own variants are there already.

    Raises Unavailable if another command writes to the repository.
    """
    materials = gather(plan, watch.show)
    own = _own(plan)
    with store.writing():
        cache = Cache(store.root)
        cache.sweep()
        trials = Trials(plan, cache, replace(materials, say=watch.say))
        exploring = Search(
            space.survey(plan, materials.source),
            trials,
            watch,
            cache,
            usd_per_device_s,
            plan.recipe.seed,
        )
        exploring.run(own)
        watch.lift()
        return _findings(plan, exploring, confirm.worth_shelving(exploring, most))


def _own(plan: Plan) -> list[Steps]:
    """The steps of the recipe's own variants, the reference's first."""
    steps = [tuple(chosen.record for chosen in variant.passes) for variant in plan.on_cpu]
    return list({name_of(each): each for each in steps}.values())


def _findings(plan: Plan, search: Search, names: Sequence[str]) -> Findings:
    chosen = {found.title(search.steps[name], name): name for name in names}
    variants = {title: search.steps[name] for title, name in chosen.items()}
    best = {title: search.best[name] for title, name in chosen.items()}
    extended = extend(plan, variants)
    # The format that was cheapest in the trial; another would be one more variant to keep.
    kept = tuple(
        planned
        for planned in extended.variants
        if planned.name not in best
        or (planned.target.TARGET, planned.artifact_format)
        == (best[planned.name].target, best[planned.name].artifact_format)
    )
    return Findings(variants, replace(extended, variants=kept), _summary(search, len(chosen)))


def _summary(search: Search, chosen: int) -> str:
    new = search.trials.paid
    tried = f"{search.ended} trials ({new} new), {len(search.rungs.points[TOP])} in full"
    time = f"in {spell(search.watch.spent_s)}"
    why = ", and nothing new is left to try" if search.is_exhausted else ""
    best = {
        0: "nothing beats the recipe's own variants on validation rows",
        1: "one is beaten by none of the recipe's variants on validation rows",
    }.get(chosen, f"{chosen} are beaten by none of the recipe's variants on validation rows")
    return f"searched {time}{why}: {tried}; {best}"
