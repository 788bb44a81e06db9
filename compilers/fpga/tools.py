"""Run the open FPGA tools as child processes that report how long they take and die with us."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from model_repo import leash
from model_repo.errors import FareboxError, MissingExtra

TICK_S, TOLD_EVERY_S = 0.2, 5.0
COMPILING = "Preparing to run"
LOG = "log.txt"


def run(command: Sequence[str], folder: Path, what: str, say: Callable[[str], None]) -> str:
    """What the tool printed; it works in `folder`. `what` it does is said every few seconds.

    Raises MissingExtra if it is not installed, and FareboxError with its last words if it fails.
    Whatever interrupts the wait ends the tool, and all that it started.
    """
    start = time.monotonic()
    found = [find(command[0]), *command[1:]]
    with (folder / LOG).open("w") as log, leash.running(found, folder, log) as child:
        _wait(child, folder / LOG, what, start, say)
    printed = (folder / LOG).read_text(errors="replace")
    if child.returncode:
        last = " ".join(line for line in printed.splitlines()[-8:] if line.strip())[-500:]
        raise FareboxError(f"{what} failed ({command[0]} gave {child.returncode}): {last}")
    say(f"{what}: done in {time.monotonic() - start:.0f} s")
    return printed


def _wait(
    child: subprocess.Popen[str],
    log: Path,
    what: str,
    start: float,
    say: Callable[[str], None],
) -> None:
    told = -TOLD_EVERY_S
    while child.poll() is None:
        elapsed = time.monotonic() - start
        if elapsed - told >= TOLD_EVERY_S:
            told = elapsed
            lines = log.read_text(errors="replace").splitlines()
            is_compiling = bool(lines) and lines[-1].startswith(COMPILING)
            first = ", compiling the tool itself, once on each machine" if is_compiling else ""
            say(f"{what}{first}: {elapsed:.0f} s")
        time.sleep(TICK_S)


def find(name: str) -> str:
    """The path of a tool, beside this Python first; raises MissingExtra."""
    own = Path(sys.executable).parent / name
    found = str(own) if own.exists() else shutil.which(name)
    if found is None:
        raise MissingExtra("placing a circuit", name, "fpga")
    return found


def versions(*packages: str) -> dict[str, str]:
    """The versions of packages that are installed."""
    return {name: metadata.version(name) for name in packages}
