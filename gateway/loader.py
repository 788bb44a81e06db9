"""Reads the repository into a catalog, and opens and warms the variants that are new."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import date
from typing import cast

from msgspec import Struct
from msgspec.structs import replace

from gateway.core.catalog import Catalog, Entry, Offer
from gateway.core.curve import curve
from gateway.core.replica import Replica
from gateway.core.routing import Choose, Policy
from gateway.settings import Settings
from gateway.warm_up import warm_up
from model_repo import cascades, plugins, runtime
from model_repo.cascades import is_cascade
from model_repo.errors import Corrupt, FareboxError, MissingDevice, MissingExtra, NotFound
from model_repo.prices import PriceBook
from model_repo.records import Cascade, Model, Variant, VariantKey
from model_repo.runtime import Session
from model_repo.store import Store
from model_repo.survey import survey


class Loaded(Struct, frozen=True):
    """All that a reload replaces; `problems` are what was left out, a sentence each.

    replicas: of each variant; a cascade has none of its own. capped: what the memory cap left out,
    and cascades of it; as set, so that no problem is looked at again for it. elsewhere: what this
    machine cannot run, and why: no problem either.
    """

    catalog: Catalog
    replicas: dict[VariantKey, list[Replica]]
    sessions: dict[str, Session]
    problems: list[str]
    capped: list[VariantKey]
    elsewhere: dict[VariantKey, str]


def load_policy(name: str, is_best_effort: bool) -> Policy:
    """One policy; raises NotFound naming those there are."""
    choose = cast(Choose, plugins.load("policies.routing", name).choose)
    return Policy(name, choose, is_best_effort)


def load(
    store: Store,
    prices: PriceBook,
    settings: Settings,
    cores: int,
    day: date,
    before: Loaded | None,
    unloaded: Container[str] = frozenset(),
) -> Loaded:
    """Read everything on the shelf; sessions of unchanged artifacts are taken over from `before`.

    unloaded: models to leave out.

    One broken variant or model is a problem to report and does not stop the others; one that was
    served before goes on as it was. Runs for as long as opening takes: call it in a thread.
    """
    problems: list[str] = []
    entries, replicas, sessions = [], {}, {}
    shelf = [each for each in _read(store, before, problems) if each[0].name not in unloaded]
    singles = [v for _, found in shelf for v in found if not is_cascade(v)]
    elsewhere = _elsewhere(singles)
    alone = [variant for variant in singles if variant.key not in elsewhere]
    kept = _within_cap(alone, settings.memory_cap_bytes)
    capped = [variant.key for variant in alone if variant.key not in kept]
    for model, found in shelf:
        opened: list[Offer] = []
        for variant in (each for each in found if each.key in kept):
            identity = f"{variant.key}@{variant.artifact.sha256}"
            try:
                offer = _offer(variant, model, prices, settings, day)
                session = before.sessions.get(identity) if before else None
                sessions[identity] = session or _open(store, model, variant, cores)
            except FareboxError as error:
                problems.append(str(error))
                continue
            opened.append(offer)
            replicas[variant.key] = _replicas(identity, variant.key, cores, before)
        for variant in filter(is_cascade, found):
            try:
                cascade = _cascade(store, model, variant, found, before)
                if missing := _missing(cascade, variant, elsewhere):
                    elsewhere[variant.key] = missing
                elif _has_stages(cascade, variant, opened, kept):
                    opened.append(_offer(variant, model, prices, settings, day, cascade))
                    replicas[variant.key] = []
                else:
                    capped.append(variant.key)
            except FareboxError as error:
                problems.append(str(error))
        reference = next((o for o in opened if o.variant.kind == "reference"), None)
        if reference is None:
            name = f"{model.name}/{model.version}"
            problems.append(f"{name} is not served: it has no usable reference variant")
            continue
        absent = {v.key.variant: elsewhere[v.key] for v in found if v.key in elsewhere}
        entries.append(Entry(model, tuple(opened), reference, absent))
    return Loaded(Catalog(entries), replicas, sessions, problems, capped, elsewhere)


def _elsewhere(variants: Iterable[Variant]) -> dict[VariantKey, str]:
    """Which of them take a library or hardware that this machine lacks, and which."""
    found = {}
    for variant in variants:
        try:
            runtime.load(variant.artifact.format).check()
        except (MissingExtra, MissingDevice) as error:
            found[variant.key] = str(error)
        except NotFound:  # opening it will say so
            continue
    return found


def _missing(cascade: Cascade, variant: Variant, elsewhere: Mapping[VariantKey, str]) -> str:
    """Why a stage of the cascade is not here; "" if both may be."""
    for name in (cascade.first, cascade.second):
        reason = elsewhere.get(replace(variant.key, variant=name))
        if reason:
            return f"its stage {name!r} is not served here: {reason}"
    return ""


def _read(
    store: Store, before: Loaded | None, problems: list[str]
) -> list[tuple[Model, list[Variant]]]:
    shelf = {
        (model.name, model.version): (model, found) for model, found in survey(store, problems)
    }
    for entry in before.catalog.entries() if before else ():
        _keep_what_broke(store, entry, shelf)
    return [(model, sorted(found, key=_by_need)) for model, found in shelf.values()]


def _keep_what_broke(
    store: Store, entry: Entry, shelf: dict[tuple[str, str], tuple[Model, list[Variant]]]
) -> None:
    """What was served, is still there and cannot be read any more goes on as it was."""
    name = entry.model.name, entry.model.version
    if name not in store.versions():
        return
    _, found = shelf.setdefault(name, (entry.model, []))
    broken = set(store.keys(*name)) - {variant.key for variant in found}
    found += [offer.variant for offer in entry.offers if offer.key in broken]


def _by_need(variant: Variant) -> tuple[bool, float]:
    return variant.kind != "reference", variant.profile.latency[0].device_s


def _within_cap(variants: Iterable[Variant], cap_bytes: int) -> set[VariantKey]:
    """Every reference, then the cheapest of all models, as long as they fit together."""
    kept, used = set(), 0
    for variant in sorted(variants, key=_by_need):
        used += variant.profile.memory_bytes
        if cap_bytes and used > cap_bytes and variant.kind != "reference":
            break
        kept.add(variant.key)
    return kept


def _cascade(
    store: Store, model: Model, variant: Variant, found: Sequence[Variant], before: Loaded | None
) -> Cascade:
    """What a cascade holds, its stages being those it was calibrated with."""
    same = (variant.key, variant.artifact.sha256)
    known = {o.identity: o.cascade for o in (before.catalog.offers() if before else ())}
    cascade = known.get(same) or cascades.read(store, variant)
    cascades.check_output(cascade, variant, model)
    cascades.stages(cascade, variant, found)
    return cascade


def _has_stages(
    cascade: Cascade, variant: Variant, opened: Sequence[Offer], kept: Container[VariantKey]
) -> bool:
    """Whether both stages are served; no loss to report if the memory cap left one out."""
    names = {offer.key.variant for offer in opened}
    for name in (cascade.first, cascade.second):
        if name not in names:
            if replace(variant.key, variant=name) not in kept:
                return False
            raise Corrupt(f"{variant.key} is not served, since its stage {name!r} is not")
    return True


def _open(store: Store, model: Model, variant: Variant, slots: int) -> Session:
    opener = runtime.load(variant.artifact.format)
    session = opener.open_session(store.artifact(variant), model, slots)
    warm_up(session, model, variant.profile.largest_batch if opener.COMPILES_SIZES else 1, slots)
    return session


def _offer(
    variant: Variant,
    model: Model,
    prices: PriceBook,
    settings: Settings,
    day: date,
    cascade: Cascade | None = None,
) -> Offer:
    profile = variant.profile
    return Offer(
        variant,
        curve(profile, settings.slo_percentile, model.batches),
        prices.target_price(variant.target, day, profile.hardware).usd_per_device_s,
        profile.source == "measured" or settings.allow_estimated,
        all(-1 not in spec.shape[1 if model.batches else 0 :] for spec in model.inputs),
        cascade,
        runtime.device(variant),
    )


def _replicas(identity: str, key: VariantKey, cores: int, before: Loaded | None) -> list[Replica]:
    for replica in before.replicas.get(key, []) if before else []:
        if replica.id == identity:
            return [replica]
    return [Replica(identity, key, "in-process", "ready", 0, cores)]
