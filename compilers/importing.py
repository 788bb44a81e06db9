"""Shelve a foreign ONNX file as its own reference, with int8 variants where there is data."""

from __future__ import annotations

import shlex
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from compilers import example, given, int8, settle, signature
from compilers.appraise import Appraiser
from compilers.datasets import Data, split
from compilers.digests import code_sha256, digest
from compilers.progress import Progress
from model_repo.errors import BadInput, Corrupt, Expired, NotFound
from model_repo.names import check_name
from model_repo.records import Artifact, Kind, Model, PassStep, Variant, VariantKey
from model_repo.store import Store, sha256_of

REFERENCE = "cpu-reference"
BATCH_SIZES = (1, 2, 4, 8, 16, 32)
FEWEST_ROWS = 8
MOST_CALIBRATION = 256


@dataclass(frozen=True)
class Request:
    """What the user asked to import."""

    path: Path
    name: str
    version: str
    data: Path | None = None
    labels: Path | None = None
    seed: int = 0


@dataclass
class Outcome:
    """What is on the shelf now; `made` are new, `missing` says why a variant is not there."""

    model: Model
    variants: list[Variant] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def import_file(request: Request, store: Store, progress: Progress) -> Outcome:
    """Shelve the file and what can be made of it; what is there already is not made again.

    Raises BadInput for a file or data that cannot be served, or if the version holds another file,
    and Unavailable if another command writes to the repository.
    """
    check_name(request.name, "model")
    check_name(request.version, "version")
    if request.labels and not request.data:
        raise BadInput("--labels needs --data: give the rows that the labels belong to")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        read = signature.read(request.path, folder)
        _refuse_other(request, read.path, store)
        data = request.data and given.read(
            request.data, request.labels, read.inputs, progress.remark
        )
        with store.writing():
            return _Import(request, store, progress, read, data or None, folder).run()


def _refuse_other(request: Request, path: Path, store: Store) -> None:
    """Raise BadInput if this version is there already and is not this file."""
    if (request.name, request.version) not in store.versions():
        return
    key = VariantKey(request.name, request.version, REFERENCE)
    try:
        is_same = store.variant(key).artifact.sha256 == sha256_of(path)
    except NotFound:
        is_same = not store.keys(request.name, request.version)
    if not is_same:
        raise BadInput(
            f"{request.name}/{request.version} is on the shelf with another file: give this one "
            f"another --version, or run {_removal(request, store)} first"
        )


def _removal(request: Request, store: Store) -> str:
    root = shlex.quote(str(store.root))
    return f"'farebox remove {request.name}/{request.version} --repository {root}'"


@dataclass
class _Import:
    request: Request
    store: Store
    progress: Progress
    read: signature.Signature
    data: Data | None
    folder: Path

    def run(self) -> Outcome:
        """The reference first: the others are judged against it."""
        shelved = [self._find(name) for name in self._names]
        if all(shelved):
            outcome = Outcome(self.store.model(self.request.name, self.request.version))
            outcome.variants = [variant for variant in shelved if variant]
            return outcome
        outcome = Outcome(self._settled.model, remarks=self._settled.remarks)
        for remark in outcome.remarks:
            self.progress.remark(remark)
        self._refuse_other_data(outcome.model)
        for name in self._names:
            self._shelve(name, outcome)
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
                f"--labels, another --version, or run {_removal(self.request, self.store)} first"
            )

    @property
    def _names(self) -> list[str]:
        return [REFERENCE, *(int8.MODES if self.data else ())]

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

    def _digest(self, variant: str) -> str:
        return digest(variant, self._inputs_digest, code_sha256("compilers.importing"))

    def _find(self, name: str) -> Variant | None:
        try:
            found = self.store.variant(VariantKey(self.request.name, self.request.version, name))
            self.store.artifact(found)
        except (NotFound, Corrupt):  # what is missing or broken is made again
            return None
        return found if found.digest == self._digest(name) else None

    def _shelve(self, name: str, outcome: Outcome) -> None:
        variant = self._find(name)
        if variant is None:
            self.progress.begin(name)
            try:
                path, variant = self._make(name)
            except (BadInput, Expired) as error:
                if name == REFERENCE:
                    raise
                outcome.missing[name] = str(error)
                self.progress.remark(f"{name} is not made: {error}")
                self.progress.end()
                return
            self.store.commit_model(
                outcome.model, example.request(outcome.model, self._settled.data)
            )
            self.store.commit(variant, path)
            outcome.made.append(name)
            self.progress.end(f"{variant.key} is shelved")
        outcome.variants.append(variant)

    def _make(self, name: str) -> tuple[Path, Variant]:
        kind: Kind = "reference" if name == REFERENCE else "variant"
        steps: tuple[PassStep, ...] = ()
        path = self.read.path
        artifact = Artifact("model.onnx", settle.FORMAT, sha256_of(path), path.stat().st_size)
        if kind == "variant":
            path, artifact, steps = self._quantize(name)
        key = VariantKey(self.request.name, self.request.version, name)
        measured = self._appraiser.profile(path, artifact.format, kind, BATCH_SIZES)
        return path, Variant(key, kind, "cpu", artifact, measured, steps, self._digest(name))

    def _quantize(self, name: str) -> tuple[Path, Artifact, tuple[PassStep, ...]]:
        calibration = self._parts[0]
        if not len(calibration):
            raise BadInput(f"calibrating and judging it takes {FEWEST_ROWS} rows that differ")
        folder = self.folder / name
        folder.mkdir()
        artifact = int8.make(
            name,
            self.read.path,
            self._settled.model,
            calibration,
            self.request.seed,
            folder,
            self.progress.say,
        )
        return folder / artifact.path, artifact, (int8.step(name),)


def _numbered(data: Data) -> Data:
    """The rows, flat, each labelled with its number: rows of single strings can be split too."""
    flat = {name: array.reshape(len(array), -1) for name, array in data.inputs.items()}
    return Data(flat, np.arange(len(data)))
