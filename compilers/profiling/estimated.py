"""Make a profile of an estimate: its times, and the accuracy of the answers that it gives here."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from compilers.contracts import Estimate
from compilers.profiling import host
from compilers.profiling.measure import PACKAGES
from compilers.profiling.scoring import Score
from model_repo import runtime
from model_repo.records import Model, Origin, Profile
from model_repo.runtime import Session


def profile(
    path: Path,
    artifact_format: str,
    model: Model,
    estimate: Estimate,
    *,
    score: Callable[[Session], Score],
    seed: int,
) -> Profile:
    """Open the artifact and score its answers; its times are those of the estimate.

    load_s is that of this machine. Raises Corrupt for an unreadable artifact, BadInput for inputs
    that it refuses.
    """
    opener = runtime.load(artifact_format)
    start = time.monotonic()
    session = opener.open_session(path, model)
    load_s = time.monotonic() - start
    try:
        merit = score(session)
    finally:
        session.close()
    now = datetime.now(UTC)
    versions = host.versions((*PACKAGES, *opener.LIBRARIES))
    return Profile(
        merit.value,
        merit.low,
        merit.high,
        merit.samples,
        estimate.latency,
        load_s,
        estimate.memory_bytes,
        estimate.host,
        estimate.source,
        now,
        seed=seed,
        versions=estimate.versions,
        accuracy_origin=Origin(host.name(), now, seed, versions),
        hardware=estimate.hardware,
    )
