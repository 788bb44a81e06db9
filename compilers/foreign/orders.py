"""What an import is asked for, and what came of it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from compilers.foreign.derived import ASKED, DEFAULT, Derived
from compilers.foreign.shelving import REFERENCE
from model_repo.records import Model, Variant
from model_repo.store import Store


@dataclass(frozen=True)
class Request:
    """What the user asked to import; `also`: keys of `ASKED`."""

    path: Path
    name: str
    version: str
    data: Path | None = None
    labels: Path | None = None
    seed: int = 0
    also: tuple[str, ...] = ()

    @property
    def graphs(self) -> tuple[Derived, ...]:
        """What is to be made beside the reference; nothing without data to judge it on."""
        return (*DEFAULT, *(ASKED[name] for name in self.also)) if self.data else ()

    @property
    def names(self) -> tuple[str, ...]:
        """What is to be shelved, the reference first."""
        return (REFERENCE, *(name for each in self.graphs for name in each.variants))


@dataclass
class Outcome:
    """What is on the shelf now; `made` are new, `missing` says why a variant is not there."""

    model: Model
    variants: list[Variant] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def removal(request: Request, store: Store) -> str:
    """The command that makes room for this version."""
    root = shlex.quote(str(store.root))
    return f"'farebox remove {request.name}/{request.version} --repository {root}'"
