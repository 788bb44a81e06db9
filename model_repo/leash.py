"""Runs tools that end, with all that they started, when whoever started them does, however."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

# What stands between us and the tool. Nothing is ever written to it: that it reads means that our
# end was closed, as it is by the system even when this process is killed and can do nothing.
HOLDER = """
import os, signal, subprocess, sys, threading
def wait():
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)
tool = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
threading.Thread(target=wait, daemon=True).start()
code = tool.wait()
os._exit(code if code >= 0 else 128 - code)
"""


@contextmanager
def running(
    command: Sequence[str],
    folder: Path,
    output: int | IO[str],
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """A tool at work in `folder` until the block is left; what it says goes to `output`.

    It hears nothing of Ctrl-C: what interrupts the block ends it.
    """
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", HOLDER, *command],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with child:
        try:
            yield child
        finally:
            if child.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
