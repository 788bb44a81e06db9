"""Profile shelved variants again on this host, without their recipe; accuracy stays as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from msgspec import structs

from compilers import example, made_up
from compilers.cascades import cascade
from compilers.datasets import Data
from compilers.foreign import given
from compilers.foreign.signature import Port
from compilers.profiling import calls, measure
from compilers.profiling.scoring import Score
from model_repo import cascades, profiles, runtime
from model_repo.errors import BadInput, FareboxError
from model_repo.records import Model, Origin, Profile, Variant, VariantKey
from model_repo.store import Store

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Renewed:
    """A variant as it was shelved, and as it is now."""

    before: Variant
    after: Variant


@dataclass(frozen=True)
class Remeasure:
    """Measures the variants of one model version; the caller holds the repository for writing.

    say: takes what goes on; problems: takes a sentence for each variant that was left as it was.
    """

    store: Store
    model: Model
    variants: Sequence[Variant]
    data: Data
    say: Tell
    problems: list[str]

    def run(self, wanted: Iterable[Variant]) -> Iterator[Renewed]:
        """Each variant as soon as its new profile is on the shelf, cascades last.

        A cascade that is wanted comes even if its stages say nothing new.
        Cascades are recomputed, wanted or not, on the shelf as soon as a stage is: stopped at any
        time, none keeps the price of stages that are no more.
        """
        now = {variant.key.variant: variant for variant in self.variants}
        names = {variant.key.variant for variant in wanted}
        for variant in self.variants:
            if variant.key.variant not in names or cascades.is_cascade(variant):
                continue
            try:
                profile = self._measure(variant)
            except FareboxError as error:
                self.problems.append(f"{variant.key} is left as it was: {error}")
                continue
            renewed = self._renew(variant, profile)
            now[variant.key.variant] = renewed.after
            self._follow(now)
            yield renewed
        failed = self._follow(now)
        for variant in filter(cascades.is_cascade, self.variants):
            after, is_wanted = now[variant.key.variant], variant.key.variant in names
            if variant.key in failed and is_wanted:
                self.problems.append(f"{variant.key} is left as it was: {failed[variant.key]}")
            elif after is not variant or is_wanted:
                yield Renewed(variant, after)

    def _follow(self, now: dict[str, Variant]) -> dict[VariantKey, FareboxError]:
        """Recompute the cascades whose stages changed; returns why others cannot be."""
        failed = {}
        for variant in filter(cascades.is_cascade, list(now.values())):
            try:
                profile = self._expected(variant, list(now.values()))
            except FareboxError as error:
                failed[variant.key] = error
                continue
            if profile.latency != variant.profile.latency:
                now[variant.key.variant] = self._renew(variant, profile).after
        return failed

    def _measure(self, variant: Variant) -> Profile:
        if not cascades.is_servable(self.store, variant, self.variants):
            raise BadInput(
                f"no runtime for {variant.artifact.format} is installed here; measure it on the "
                "host that will serve it"
            )
        here = runtime.device(variant)
        if here != variant.target:
            raise BadInput(
                f"it is for the target {variant.target}, and this machine has none: it would run "
                f"on the {here}, so measure it on the host that will serve it"
            )
        sizes = [point.batch_size for point in variant.profile.latency]
        return measure.profile(
            self.store.artifact(variant),
            variant.artifact.format,
            self.model,
            self.data,
            score=lambda _: score_of(variant.profile),
            batch_sizes=sizes,
            seed=variant.profile.seed,
            progress=lambda text: self.say(f"{variant.key}: {text}"),
        )

    def _expected(self, variant: Variant, others: Sequence[Variant]) -> Profile:
        found = cascades.read(self.store, variant)
        first, second = cascades.stages(found, variant, others)
        return cascade.expected_profile(
            first.profile, second.profile, found.escalation, score_of(variant.profile)
        )

    def _renew(self, before: Variant, profile: Profile) -> Renewed:
        after = profiles.renew(self.store, before.key, keep_accuracy(before.profile, profile))
        return Renewed(before, after)


def score_of(profile: Profile) -> Score:
    """What the profile says of accuracy."""
    return Score(
        profile.accuracy, profile.accuracy_low, profile.accuracy_high, profile.accuracy_samples
    )


def keep_accuracy(before: Profile, now: Profile) -> Profile:
    """`now`, saying where its accuracy comes from."""
    origin = before.accuracy_origin or Origin(
        before.host, before.measured_at, before.seed, before.versions
    )
    return structs.replace(now, accuracy_origin=origin)


def rows(store: Store, model: Model, path: Path | None, say: Tell) -> Data:
    """What to measure with: the file given, else the request on the shelf, else made-up values.

    Raises BadInput for a file that does not fit, or if nothing says how long a free axis is.
    """
    ports = [
        Port(spec.name, spec.datatype, tuple(None if size < 0 else size for size in spec.shape))
        for spec in model.inputs
    ]
    if path is not None:
        data = given.read(path, None, ports, say)
        _check_rows(model, data, path)
        return data
    shown = store.example(model.name, model.version)
    if shown is not None:
        return example.read(shown, model)
    if any(-1 in spec.shape[int(model.batches) :] for spec in model.inputs):
        raise BadInput(
            f"{model.name}/{model.version} has free axes and no example request: give rows of real "
            "size with --data FILE.npz"
        )
    return made_up.data(ports, 1, np.random.default_rng(0), batches=model.batches)


def _check_rows(model: Model, data: Data, path: Path) -> None:
    if model.batches:
        for spec in model.inputs:
            if calls.is_whole(data.inputs[spec.name], spec.shape):
                raise BadInput(
                    f"each row of {spec.name!r} in {path} is a whole request, but "
                    f"{model.name}/{model.version} batches: give one row of it in each"
                )
    elif len(data) < (calls.rows_per_call(model, data) or 1):
        raise BadInput(f"the data {path} has {len(data)} rows, too few for one call")
