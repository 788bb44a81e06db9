"""Measure an imported artifact: its accuracy or fidelity, and whether its rows sway each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from msgspec import structs

from compilers.datasets import Data
from compilers.foreign import proof, settle
from compilers.foreign.signature import Signature
from compilers.profiling import calls
from compilers.profiling.measure import profile
from compilers.profiling.scoring import REFERENCE_SCORE, Score, check_fidelity, finite_rows, judge
from compilers.progress import Progress
from model_repo import runtime
from model_repo.errors import BadInput
from model_repo.records import Kind, Model, Profile
from model_repo.runtime import Session
from model_repo.tensors import Array


@dataclass
class Appraiser:
    """Judges every artifact of one model on the same held-out rows; `data` is None if made up."""

    read: Signature
    model: Model
    data: Data | None
    held_out: Data
    seed: int
    progress: Progress

    def try_out(self, path: Path, artifact_format: str, kind: Kind) -> Model:
        """The model as this artifact answers it: measured, hence served, a row at a time if rows
        sway each other, as they do where dynamic quantization takes its scale from the batch.

        Raises BadInput, or Expired, if it does not run, or answers NaN: the reference at all, the
        others, or infinity, where the reference does not; and if no fidelity to the reference can
        be told.
        """
        if kind != "reference":
            check_fidelity(self.model, self._wanted[self.model.scored_output])
        session = runtime.load(artifact_format).open_session(path, self.model)
        try:
            self._check_numbers(session, kind)
            if kind == "reference" or not self.model.batches:
                return self.model
            why = proof.difference(
                lambda inputs: session.run(inputs, settle.LIMIT_S)[0],
                settle.pairs(self.read, self.data, 1, self.seed),
                self.read.outputs,
            )
        finally:
            session.close()
        if why is None:
            return self.model
        self.progress.remark(f"{path.parent.name} is served a row at a time: {why}")
        return structs.replace(self.model, batches=False)

    def profile(
        self,
        path: Path,
        artifact_format: str,
        kind: Kind,
        model: Model,
        batch_sizes: Sequence[int],
    ) -> Profile:
        """What is known of the artifact, answering as `model`.

        Raises BadInput or Expired if it does not run.
        """
        return profile(
            path,
            artifact_format,
            model,
            self.held_out,
            score=partial(self._score, kind, model),
            batch_sizes=batch_sizes,
            seed=self.seed,
            limit_s=settle.LIMIT_S,
            progress=self.progress.say,
        )

    def _check_numbers(self, session: Session, kind: Kind) -> None:
        if self.data is None:
            return  # made-up numbers may well have no answer
        name = self.model.scored_output
        if kind == "reference":
            self._check_reference(self._wanted[name])
            return
        given = calls.compute(session, self.model, self.held_out, settle.LIMIT_S)[name]
        lost = finite_rows(self._wanted[name]) & ~finite_rows(given)
        if lost.any():
            raise BadInput(
                f"the answers {name!r} to {lost.sum()} of {len(lost)} held-out rows hold NaN or "
                "infinity, where those of the reference hold none"
            )

    def _check_reference(self, given: Array) -> None:
        lost, name = ~finite_rows(given), self.model.scored_output
        if not lost.any():
            return
        told = f"the answers {name!r} to {lost.sum()} of {len(lost)} held-out rows hold NaN"
        if np.isnan(given).any():
            raise BadInput(f"{told} or infinity: correct the data or the model")
        self.progress.remark(f"{told.removesuffix('NaN')}infinity, and count as wrong")

    def _score(self, kind: Kind, model: Model, session: Session) -> Score:
        if model.metric == "accuracy":
            return judge(session, model, self.held_out, None)
        if kind == "reference":
            return REFERENCE_SCORE
        return judge(session, model, self.held_out, self._wanted)

    @cached_property
    def _wanted(self) -> dict[str, Array]:
        """The reference's answers to the held-out rows."""
        session = runtime.load(settle.FORMAT).open_session(self.read.path, self.model)
        try:
            return calls.compute(session, self.model, self.held_out, settle.LIMIT_S)
        finally:
            session.close()
