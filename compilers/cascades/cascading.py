"""Find the cascades of a plan's shelved variants that pay, and shelve them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec import Struct, structs

from compilers.cache import Cache
from compilers.cascades import pairing
from compilers.cascades.pairing import Pair, Stage
from compilers.cascades.stages import Stages
from compilers.digests import code_sha256, digest, versions
from compilers.materials import Materials
from compilers.plan import Plan, rows_sway
from compilers.progress import Progress
from compilers.recipe import CascadeSpec
from model_repo import cascades, durable, findings, runtime
from model_repo.errors import BadInput, Corrupt, FareboxError, NotFound
from model_repo.records import PassStep, Skip, Variant, VariantKey
from model_repo.store import Store, describe

ALL = "cascades"
"""Under this name the shelf keeps which pairs do not pay: there may be hundreds of them."""
FOUND = "found.json"
CLOSEST = 2


class Found(Struct, frozen=True, forbid_unknown_fields=True):
    """What a search ended with: the digests of the cascades it shelved, by name."""

    shelved: dict[str, str]


def is_done(plan: Plan, store: Store) -> bool:
    """Whether the cascades that the recipe asks for were found, and are all on the shelf.

    Raises BadInput for a pair that names no variant.
    """
    spec = plan.recipe.cascades
    if spec is None:
        return True
    _check_pairs(plan, spec, store)
    place = Cache(store.root).find(_search_digest(plan, spec, _singles(plan, store)))
    if place is None:
        return False
    found = durable.read(place / FOUND, Found)
    return all(_is_shelved(_key(plan, name), made, store) for name, made in found.shelved.items())


def run(plan: Plan, store: Store, materials: Materials, progress: Progress) -> dict[str, str]:
    """Shelve the pairs that pay in place of the cascades there were; what failed, and why.

    The caller holds the repository for writing. Which pairs do not pay is kept beside them.
    """
    spec = plan.recipe.cascades
    if spec is None or is_done(plan, store):
        return {}
    progress.begin(ALL)
    try:
        Search(plan, spec, store, materials).run()
    except FareboxError as error:
        findings.note_skip(store, plan.recipe.model, plan.recipe.version, ALL, Skip(str(error)))
        progress.remark(f"{ALL} failed: {error}")
        return {ALL: str(error)}
    return {}


def _check_pairs(plan: Plan, spec: CascadeSpec, store: Store) -> None:
    known = {planned.key.variant for planned in plan.variants}
    known |= {variant.key.variant for variant in _singles(plan, store)}
    for pair in spec.pairs:
        for name in pair:
            if name not in known or pair[0] == pair[1]:
                raise BadInput(
                    f"cascades, pairs names {list(pair)}: give two of {', '.join(sorted(known))}"
                )


def _singles(plan: Plan, store: Store) -> list[Variant]:
    """What may be a stage: measured, and runs on this machine."""
    return [
        variant
        for variant in store.variants(plan.recipe.model, plan.recipe.version)
        if not cascades.is_cascade(variant)
        and variant.profile.source == "measured"
        and runtime.is_servable(variant)
    ]


def _search_digest(plan: Plan, spec: CascadeSpec, singles: Sequence[Variant]) -> str:
    return digest(
        "cascades",
        spec,
        plan.recipe.batch_sizes,
        [(v.key, v.digest, v.artifact.sha256) for v in singles],
        code_sha256("compilers.cascades.cascading"),
        versions(("numpy", "scipy")),
    )


def _key(plan: Plan, name: str) -> VariantKey:
    return VariantKey(plan.recipe.model, plan.recipe.version, name)


def _is_shelved(key: VariantKey, made: str, store: Store) -> bool:
    try:
        variant = store.variant(key)
        store.artifact(variant)
    except (NotFound, Corrupt):
        return False
    return variant.digest == made


@dataclass
class Search:
    """One search over the variants that are on the shelf now."""

    plan: Plan
    spec: CascadeSpec
    store: Store
    materials: Materials

    def run(self) -> None:
        """Calibrate, choose, shelve; then forget the cascades that are no longer chosen."""
        recipe, singles = self.plan.recipe, _singles(self.plan, self.store)
        told: list[str] = []
        reference = next(v for v in singles if v.kind == "reference")
        judge = Stages(self.store, Cache(self.store.root), self.materials, reference)
        stages = {v.key.variant: judge.stage(v) for v in singles}
        pairs = list(self._calibrated(stages, told))
        kept: list[Pair] = []
        for target in sorted({v.target for v in singles}):
            chosen, reasons = pairing.choose(
                (pair for pair in pairs if pair.first.target == target),
                (s.candidate for s in stages.values() if s.variant.target == target),
            )
            kept += (
                pairing.publish(
                    pair, stages[pair.first.key.variant], stages[pair.second.key.variant]
                )
                for pair in chosen
            )
            told += reasons
        shelved = {pair.name: self._shelve(pair) for pair in kept}
        for variant in self.store.variants(recipe.model, recipe.version):
            if cascades.is_cascade(variant) and variant.key.variant not in shelved:
                self.store.remove(recipe.model, recipe.version, variant.key.variant)
        search = _search_digest(self.plan, self.spec, singles)
        skip = Skip(_summary(told, len(kept)), search) if told or not kept else None
        findings.note_skip(self.store, recipe.model, recipe.version, ALL, skip)
        cache = Cache(self.store.root)
        if place := cache.find(search):  # what it found was taken off the shelf
            shutil.rmtree(place)
        with cache.writing(search) as folder:
            durable.write(folder / FOUND, Found(shelved))

    def _calibrated(self, stages: Mapping[str, Stage], told: list[str]) -> Iterator[Pair]:
        """Each pair to consider; adds to `told` why one cannot be a cascade."""
        output, risk = self.materials.model.scored_output, self.spec.risk
        for pair in self._pairs([stage.candidate for stage in stages.values()], told):
            name = pairing.cascade_name(*pair)
            if name in stages:
                told.append(f"{name} is the name of another variant")
                continue
            if any(rows_sway(stage.steps) for stage in pair):
                told.append(f"{name}: in int8 'dynamic', who goes on would depend on the company")
                continue
            first, second = (stages[variant.key.variant] for variant in pair)
            try:
                yield pairing.calibrate(first, second, output, risk)
            except BadInput as error:
                told.append(f"{name}: {error}")

    def _pairs(
        self, singles: Sequence[Variant], told: list[str]
    ) -> Iterator[tuple[Variant, Variant]]:
        """Which to consider, by what they cost and how right they are on validation rows."""
        if not self.spec.pairs:
            yield from ((a, b) for a in singles for b in singles if pairing.may_pay(a, b))
        known = {v.key.variant: v for v in singles}
        for names in self.spec.pairs:
            first, second = map(known.get, names)
            if first is None or second is None or first.target != second.target:
                told.append(f"{' and '.join(names)} are not both on the shelf, for one target")
            else:
                yield first, second

    def _shelve(self, pair: Pair) -> str:
        """Commit one cascade; its digest, which covers both stages."""
        risk, rows = self.spec.risk, len(self.materials.splits.conformal)
        options = structs.asdict(pair.cascade) | {"risk": risk, "rows": rows}
        made = digest(
            "cascade",
            pair.first.digest,
            pair.second.digest,
            options,
            code_sha256("compilers.cascades.cascading"),
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{cascades.FORMAT}.json"
            durable.write(path, pair.cascade)
            variant = Variant(
                _key(self.plan, pair.name),
                "cascade",
                pair.first.target,
                describe(path, cascades.FORMAT),
                pair.profile,
                (PassStep("cascade", options),),
                made,
            )
            self.store.commit(variant, path)
        return made


def _summary(told: Sequence[str], kept: int) -> str:
    """One sentence about all that does not pay."""
    if not told:
        return (
            "no two variants make a cascade: the first must cost at most half of the second, and "
            "the second be more accurate"
        )
    return (
        f"{len(told)} of {len(told) + kept} pairs do not pay, by validation rows; the closest: "
        f"{'; '.join(told[:CLOSEST])}"
    )
