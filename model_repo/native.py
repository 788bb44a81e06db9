"""Builds native code on this host, once, and keeps it; finds the C++ compiler for that."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from model_repo import leash
from model_repo.errors import BadInput, MissingDevice

COMPILERS = ("c++", "g++", "clang++")


def cache_folder() -> Path:
    """Where simulators are kept on this host: $XDG_CACHE_HOME/farebox/circuits."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "farebox" / "circuits"


def keep(place: Path, fill: Callable[[Path], None]) -> None:
    """Have `fill` make a file or folder named like `place` in a new folder, and move it there.

    Two processes that make the same at once each end with a whole one, the same.
    """
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=place.parent) as name:
        fill(Path(name))
        try:
            os.replace(Path(name) / place.name, place)
        except OSError:
            # A folder takes no other's place: somebody was faster.
            if not place.is_dir():
                raise


def compiler() -> str:
    """The C++ compiler: $CXX, or the first on the path; raises MissingDevice if there is none."""
    for name in (os.environ.get("CXX"), *COMPILERS):
        found = shutil.which(name) if name else None
        if found:
            return found
    raise MissingDevice(
        "simulating a circuit needs a C++ compiler, and there is none on the path: install the "
        "Debian package g++, or name one in $CXX"
    )


def call(
    command: list[str], folder: Path, what: str, more: Mapping[str, str] | None = None
) -> None:
    """Run a tool in `folder`, with `more` in its environment; raises BadInput with what it said."""
    environment = {**os.environ, **(more or {})}
    with leash.running(command, folder, subprocess.PIPE, environment) as child:
        assert child.stdout, "it was asked for"
        told = " ".join(child.stdout.read().split())[-500:]
        child.wait()
    if child.returncode:
        raise BadInput(f"{what} could not build the circuit's simulator: {told}")
