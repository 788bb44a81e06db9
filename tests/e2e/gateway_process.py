"""Runs `farebox` in processes of their own, and asks a running gateway in plain HTTP."""

from __future__ import annotations

import http.client
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE_S = 60
FAREBOX = [sys.executable, "-m", "model_repo.cli"]


def farebox(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    command = [*FAREBOX, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


class Gateway:
    """A gateway that listens on ports of its own; `lines` are its log so far."""

    def __init__(self, *arguments: str | Path) -> None:
        ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
        self.process = subprocess.Popen(
            [*FAREBOX, "serve", *ports, *map(str, arguments)],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "GRPC_VERBOSITY": "NONE"},
        )
        self.lines: list[dict[str, Any]] = []
        self._is_told = False
        self._fresh: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        where = self.wait_for("listening")
        self.http, self.grpc, self.metrics = where["http"], where["grpc"], where["metrics"]

    def _read(self) -> None:
        assert self.process.stderr is not None, "it was opened with a pipe"
        for text in self.process.stderr:
            try:
                line = json.loads(text)
            except ValueError:
                line = {"message": text, "is_json": False}
            self._fresh.put(line)
        self._fresh.put(None)

    def wait_for(self, message: str, **fields: object) -> dict[str, Any]:
        """The next log line that begins so and has these fields."""
        while (line := self._fresh.get(timeout=PATIENCE_S)) is not None:
            self.lines.append(line)
            if line["message"].startswith(message) and fields.items() <= line.items():
                return line
        raise AssertionError(f"no line {message!r} {fields} before the end: {self.lines}")

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)
        self._is_told |= number in (signal.SIGTERM, signal.SIGINT)

    def stop(self) -> int:
        """Ask it to end, once; returns its exit code, with all that it logged in `lines`."""
        if self.process.poll() is None and not self._is_told:
            self.signal(signal.SIGTERM)
        try:
            code = self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join()
            assert self.process.stdout is not None and self.process.stderr is not None
            self.process.stdout.close()
            self.process.stderr.close()
        while not self._fresh.empty():
            if (line := self._fresh.get()) is not None:
                self.lines.append(line)
        return code

    def ask(
        self, method: str, path: str, body: bytes | None = None, port: int = 0, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body) of one HTTP call; `_` in a header's name stands for a dash."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.http, timeout=PATIENCE_S)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            known = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, known, answer.read()
        finally:
            connection.close()

    def infer(self, model: str, document: dict[str, Any], **headers: str) -> tuple[int, Any]:
        """(status, answer) of one inference in JSON."""
        body = json.dumps(document).encode()
        status, _, answer = self.ask("POST", f"/v2/models/{model}/infer", body, **headers)
        return status, json.loads(answer)

    def is_well(self) -> bool:
        """Whether it serves a plain request now."""
        status, answer = self.infer("toy", toy())
        return bool(status == 200 and answer["outputs"][0]["shape"] == [1, 2])


@contextmanager
def gateway(*arguments: str | Path) -> Iterator[Gateway]:
    """A gateway for the length of a block."""
    made = Gateway(*arguments)
    try:
        yield made
    finally:
        made.stop()


def toy(rows: int = 1, **parameters: object) -> dict[str, Any]:
    """A request for the toy model."""
    data = [0.5] * (4 * rows)
    tensor = {"name": "x", "shape": [rows, 4], "datatype": "FP32", "data": data}
    return {"inputs": [tensor], "parameters": parameters}
