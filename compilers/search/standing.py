"""Measured in full, does what was found still pay? Takes off the shelf what others match there."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from compilers import pending
from compilers.plan import Plan
from compilers.search.found import is_found
from model_repo import cascades
from model_repo.errors import Corrupt
from model_repo.findings import note_skip
from model_repo.prices import PriceBook
from model_repo.records import Skip, Variant, VariantKey
from model_repo.report import rows
from model_repo.store import Store
from model_repo.survey import survey


@dataclass(frozen=True)
class Standing:
    """The variants of one model version at the prices of a day: who is on the report's front."""

    store: Store
    variants: Sequence[Variant]
    book: PriceBook
    day: date

    @cached_property
    def servable(self) -> set[VariantKey]:
        """What can run here."""
        there = self.variants
        return {v.key for v in there if cascades.is_servable(self.store, v, there)}

    def front(self, among: Sequence[Variant]) -> set[VariantKey]:
        """Those with a `*` in a report on these alone."""
        table = rows(among, self.book, self.day, lambda v: v.key in self.servable)
        return {VariantKey(row.model, row.version, row.variant) for row in table if row.pareto}

    def matched(self) -> Iterator[tuple[Variant, VariantKey]]:
        """What searches found and shelved that is not on the front, and a variant that is no worse.

        A stage of a cascade is left out, since its cascade would be lost with it.
        """
        best, stages = self.front(self.variants), set(self._stages())
        for own in self.variants:
            if not is_found(own.key.variant) or own.key in best or own.key.variant in stages:
                continue
            if own.key in self.servable:
                rivals = [v for v in self.variants if v.key in best]
                rivals.sort(
                    key=lambda v: is_found(v.key.variant)
                )  # the recipe's own stay for longer
                fronts = ((v.key, self.front([v, own])) for v in rivals)
                yield own, next(rival for rival, front in fronts if own.key not in front)

    def _stages(self) -> Iterator[str]:
        for variant in filter(cascades.is_cascade, self.variants):
            with suppress(Corrupt):
                cascade = cascades.read(self.store, variant)
                yield from (cascade.first, cascade.second)


def settle(
    plan: Plan, store: Store, new: Collection[VariantKey], book: PriceBook, day: date
) -> list[str]:
    """Take off the shelf those of `new` that are not on its front; returns what to say of all.

    They stay off for as long as the variant that is no worse is shelved. What earlier searches
    shelved may be in use, so that it is named only.
    Raises Unavailable if another command writes to the repository.
    """
    planned, told = {each.key: each for each in plan.variants}, []
    with store.writing():
        standing = Standing(store, _variants(plan, store), book, day)
        for own, rival in standing.matched():
            key, reason = own.key, f"{rival.variant} is no worse in accuracy, p99 and cost"
            if key in new:
                why = pending.settled_by(rival.variant, pending.settled(planned[key], plan))
                store.remove(key.model, key.version, key.variant)
                note_skip(store, key.model, key.version, key.variant, Skip(reason, why))
                told.append(f"{key} was measured in full and is not kept: {reason}")
            else:
                where = f"--repository {shlex.quote(str(store.root))}"
                told.append(f"{key}: {reason}; if nobody uses it: farebox remove {key} {where}")
    return [*told, _told_of_front(standing.front(standing.variants))]


def _variants(plan: Plan, store: Store) -> list[Variant]:
    """All of the recipe's model version that can be read."""
    here = (plan.recipe.model, plan.recipe.version)
    found = survey(store, [])
    return next((all_ for each, all_ in found if (each.name, each.version) == here), [])


def _told_of_front(front: Iterable[VariantKey]) -> str:
    names = sorted(key.variant for key in front if is_found(key.variant))
    return f"found, and on the front: {', '.join(names) or 'none'}"
