"""The contract of a runtime: open one artifact format, run batches, say what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, cast

from model_repo import plugins
from model_repo.errors import MissingDevice, MissingExtra, NotFound
from model_repo.records import Model, Variant
from model_repo.tensors import Array

PACKAGE = "model_repo.runtimes"


class Session(Protocol):
    """One opened artifact; `run` may be called from several threads at once."""

    def run(
        self, inputs: Mapping[str, Array], limit_s: float | None = None
    ) -> tuple[dict[str, Array], int]:
        """Compute one batch: the outputs by name, and the device-nanoseconds it kept busy.

        Device time on a CPU is the CPU time of the computing threads, not wall time, which
        would count waiting for the interpreter lock as well.
        Raises BadInput with the runtime's reason for inputs it refuses, and Expired once the
        run has taken `limit_s` seconds.
        """

    def close(self) -> None:
        """Give back memory and threads; the session is not used again."""


class Runtime(Protocol):
    """What a file in `model_repo/runtimes` offers; its name is the artifact format it runs.

    LIBRARIES: the packages that compute, as a profile names them with their versions.
    COMPILES_SIZES: whether the first run at a batch size compiles for it, in each slot, so that a
    server does well to run every size before a caller waits for one.
    """

    LIBRARIES: tuple[str, ...]
    COMPILES_SIZES: bool

    def device(self) -> str:
        """The target whose hardware this machine runs it on: what is timed here holds for that."""

    def open_session(self, path: Path, model: Model, slots: int = 1) -> Session:
        """Open the artifact at `path`, ready for `slots` runs at once, one thread each.

        Where the hardware is missing, a runtime may still open it, for its answers alone.

        Raises Corrupt if it cannot be read, MissingExtra if a library is not installed.
        """

    def check(self) -> None:
        """Raise MissingExtra or MissingDevice if this machine cannot serve what it opens."""


def load(artifact_format: str) -> Runtime:
    """The runtime of an artifact format; raises NotFound naming the formats there are."""
    return cast(Runtime, plugins.load(PACKAGE, artifact_format))


def device(variant: Variant) -> str:
    """The target whose hardware this machine runs the variant on; its own if nobody can say."""
    try:
        return load(variant.artifact.format).device()
    except NotFound:
        return variant.target


def is_servable(variant: Variant) -> bool:
    """Whether this machine has the runtime that the variant's artifact needs."""
    try:
        load(variant.artifact.format).check()
    except (NotFound, MissingExtra, MissingDevice):
        return False
    return True
