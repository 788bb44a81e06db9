"""Starts servers in processes of their own and waits until they answer."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

HERE = Path(__file__).parent


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The process, once `port` accepts a connection."""
    # A file, not a pipe: nobody reads what a server logs under load, and a full pipe would stop it.
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
        try:
            _wait(process, port, log)
            yield process
        finally:
            process.terminate()
            process.wait(timeout=20)


def _wait(process: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> None:
    for _ in range(600):
        if process.poll() is not None:
            log.seek(0)
            raise RuntimeError(log.read().decode()[-2000:])
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the server did not come up within 30 s")


def bare(kind: str, model: Path, port: int) -> list[str]:
    """The command of a baseline server."""
    return [sys.executable, str(HERE / "bare.py"), kind, str(model), str(port)]


def gateway(repository: Path, http: int, grpc: int, *more: str) -> list[str]:
    """The command of the gateway."""
    return [
        sys.executable,
        "-m",
        "model_repo.cli",
        "serve",
        "--repository",
        str(repository),
        "--http-port",
        str(http),
        "--grpc-port",
        str(grpc),
        "--metrics-port",
        "0",
        *more,
    ]
