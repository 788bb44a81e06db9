"""One import: the file as it is, and every variant of it that is worth its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from compilers.datasets import Data, split
from compilers.digests import digest
from compilers.foreign import derived, settle, signature
from compilers.foreign.appraise import Appraiser
from compilers.foreign.orders import Outcome, Request, removal
from compilers.foreign.shelving import REFERENCE, Place
from compilers.profiling import race
from compilers.progress import Progress
from compilers.targets import cpu
from model_repo import runtime
from model_repo.errors import BadInput, Expired, FareboxError, MissingExtra, NotFound, Unsupported
from model_repo.records import Artifact, Kind, Model, PassStep, Variant
from model_repo.store import Store, sha256_of

BATCH_SIZES = (1, 2, 4, 8, 16, 32)
FEWEST_ROWS = 8
MOST_CALIBRATION = 256
Made = tuple[Path, Artifact, Model]
"""An artifact, and the model as it answers it."""


@dataclass
class Intake:
    """One import, holding the repository for writing."""

    request: Request
    store: Store
    progress: Progress
    read: signature.Signature
    data: Data | None
    folder: Path
    _kept: dict[str, Any] = field(default_factory=dict)
    _notes: dict[str, float | str] = field(default_factory=dict)
    """Of the one graph that is kept."""

    def run(self) -> Outcome:
        """The reference first: the others are judged against it."""
        if all(self._place.find(name) or self._place.why_not(name) for name in self.request.names):
            outcome = Outcome(self.store.model(self.request.name, self.request.version))
        else:
            outcome = Outcome(self._settled.model, remarks=self._settled.remarks)
            for remark in outcome.remarks:
                self.progress.remark(remark)
            self._refuse_other_data(outcome.model)
            if self.data is None:
                self.progress.remark(
                    "only the reference is made: give --data FILE.npz for variants in int8, in "
                    "bf16 and for OpenVINO, which are judged on real rows"
                )
        self._shelve_reference(outcome)
        for each in self.request.graphs:
            self._shelve_all(each, outcome)
        return outcome

    def _refuse_other_data(self, model: Model) -> None:
        """Raise BadInput if the same file was judged in another way before."""
        try:
            shelved = self.store.model(model.name, model.version)
        except NotFound:
            return
        if shelved != model:
            raise BadInput(
                f"{model.name}/{model.version} was imported with other data or labels, judged by "
                f"the {shelved.metric} of {shelved.scored_output!r}: give the same --data and "
                f"--labels, another --version, or run {removal(self.request, self.store)} first"
            )

    @cached_property
    def _place(self) -> Place:
        return Place(self.store, self.request.name, self.request.version, self._inputs_digest)

    @cached_property
    def _settled(self) -> settle.Settled:
        self.progress.begin(REFERENCE)
        self.progress.say("looking for inputs that work")
        name, version = self.request.name, self.request.version
        return settle.settle(self.read, name, version, self.data, self.request.seed)

    @cached_property
    def _parts(self) -> tuple[Data, Data]:
        """Calibration and held-out rows, with no row in common."""
        rows = len(self._settled.data)
        if self.data is None or rows < FEWEST_ROWS:
            return self._settled.data.take(slice(0, 0)), self._settled.data
        sizes = {"validation": 0, "calibration": min(MOST_CALIBRATION, rows // 4), "held_out": 0}
        try:
            parts = split(_numbered(self._settled.data), sizes, self.request.seed)
        except BadInput:  # equal rows stay on one side, and these are all but equal
            return self._settled.data.take(slice(0, 0)), self._settled.data
        # Nothing is trained here, so what is left over for training is held out as well.
        assert parts.calibration.labels is not None and parts.train.labels is not None
        return (
            self._settled.data.take(parts.calibration.labels),
            self._settled.data.take(parts.train.labels),
        )

    @cached_property
    def _appraiser(self) -> Appraiser:
        return Appraiser(
            self.read,
            self._settled.model,
            self.data,
            self._parts[1],
            self.request.seed,
            self.progress,
        )

    @cached_property
    def _inputs_digest(self) -> str:
        paths = [path for path in (self.read.path, self.request.data, self.request.labels) if path]
        return digest([sha256_of(path) for path in paths], self.request.seed, BATCH_SIZES)

    def _shelve_reference(self, outcome: Outcome) -> None:
        if found := self._place.find(REFERENCE):
            outcome.variants.append(found)
            return
        self.progress.begin(REFERENCE)
        path = self.read.path
        artifact = Artifact("model.onnx", settle.FORMAT, sha256_of(path), path.stat().st_size)
        model = self._appraiser.try_out(path, settle.FORMAT, "reference")
        self._measure(REFERENCE, "reference", path, artifact, (), model, outcome, {})

    def _shelve_all(self, each: derived.Derived, outcome: Outcome) -> None:
        """One graph in those of its formats that are not dearer than others at every batch size."""
        made: dict[str, Made] = {}
        for name, artifact_format in each.variants.items():
            if found := self._place.find(name):
                outcome.variants.append(found)
            elif reason := self._place.why_not(name):
                outcome.missing[name] = reason
            else:
                with self._surviving(name, outcome):
                    made[name] = self._lower(each, name, artifact_format)
        for name, reason in self._losers(each, made).items():
            self._skip(name, reason, outcome, is_settled=True)
            del made[name]
        for name, (path, artifact, model) in made.items():
            with self._surviving(name, outcome):
                self._measure(
                    name, "variant", path, artifact, each.steps, model, outcome, self._notes
                )

    @contextmanager
    def _surviving(self, name: str, outcome: Outcome) -> Iterator[None]:
        """Note why a variant could not be made, and go on."""
        self.progress.begin(name)
        try:
            yield
        except (BadInput, Expired, Unsupported) as error:
            is_settled = not isinstance(error, MissingExtra | Expired)
            self._skip(name, str(error), outcome, is_settled=is_settled)

    def _skip(self, name: str, reason: str, outcome: Outcome, *, is_settled: bool) -> None:
        outcome.missing[name] = reason
        self._place.skip(name, reason, is_settled=is_settled)
        self.progress.remark(f"{name} is not shelved: {reason}")
        self.progress.end()

    def _lower(self, each: derived.Derived, name: str, artifact_format: str) -> Made:
        runtime.load(artifact_format).check()
        folder = self.folder / name
        folder.mkdir()
        artifact = cpu.lower(self._graph(each), artifact_format, folder)
        path = folder / artifact.path
        return path, artifact, self._appraiser.try_out(path, artifact_format, "variant")

    def _graph(self, each: derived.Derived) -> Any:
        """Made once for all formats; a copy, since a target may change it."""
        if each.name not in self._kept:
            rows = self._parts[0]
            if not len(rows):
                raise BadInput(f"calibrating and judging it takes {FEWEST_ROWS} rows that differ")
            told = self.read.path, self._settled.model, rows, self.request.seed, self.progress.say
            self._notes = {}
            self._kept = {each.name: derived.graph(each, *told, self._notes)}
        proto = self._kept[each.name]
        copy = type(proto)()
        copy.CopyFrom(proto)
        return copy

    def _losers(self, each: derived.Derived, made: Mapping[str, Made]) -> dict[str, str]:
        """Who is dearer everywhere than the same in another format, or than the reference.

        What was asked for is not compared with the reference: it may be there for its size.
        """
        entrants = {name: (path, artifact.format) for name, (path, artifact, _) in made.items()}
        if each in derived.DEFAULT:
            entrants[REFERENCE] = self.read.path, settle.FORMAT
        if not made or len(entrants) < 2:
            return {}
        self.progress.say("racing its formats")
        # One that answers a row at a time is compared at that.
        model = next((m for *_, m in made.values() if not m.batches), self._settled.model)
        told = model, self._parts[1], BATCH_SIZES, self.request.seed, settle.LIMIT_S
        try:
            return race.losers(race.run(entrants, *told), {REFERENCE})
        except FareboxError as error:  # whichever cannot run fails by itself when it is measured
            self.progress.remark(f"formats could not be raced: {error}")
            return {}

    def _measure(
        self,
        name: str,
        kind: Kind,
        path: Path,
        artifact: Artifact,
        steps: tuple[PassStep, ...],
        model: Model,
        outcome: Outcome,
        notes: dict[str, float | str],
    ) -> None:
        measured = self._appraiser.profile(path, artifact.format, kind, model, BATCH_SIZES)
        key, made_of = self._place.key(name), self._place.digest(name)
        variant = Variant(key, kind, cpu.TARGET, artifact, measured, steps, made_of, notes)
        self._place.put(outcome.model, self._settled.data, variant, path)
        outcome.variants.append(variant)
        outcome.made.append(name)
        self.progress.end(f"{key} is shelved")


def _numbered(data: Data) -> Data:
    """The rows, flat, each labelled with its number: rows of single strings can be split too."""
    flat = {name: array.reshape(len(array), -1) for name, array in data.inputs.items()}
    return Data(flat, np.arange(len(data)))
