"""Triton's trace extension: when each sampled request was read, queued, computed and answered."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import msgspec

from model_repo.errors import BadInput, Unsupported

_LEVELS = ("OFF", "TIMESTAMPS")
_FIXED = {"trace_mode": "triton", "log_frequency": "0"}
_DEFAULTS: dict[str, Any] = {"trace_level": ["OFF"], "trace_rate": "1000", "trace_count": "-1"}


class _Sampler:
    """Settings of all models, or of one, with how many requests they have seen."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = {**_DEFAULTS, **settings}
        self.is_on = self.settings["trace_level"] != ["OFF"]
        self._rate, self._left = (int(self.settings[k]) for k in ("trace_rate", "trace_count"))
        self._seen = 0

    def takes(self) -> bool:
        """Whether the request that now comes is one to trace."""
        if not self.is_on or not self._left:
            return False
        self._seen += 1
        if self._seen % self._rate:
            return False
        self._left -= self._left > 0
        return True


class Tracer:
    """`path` is the file that traces go to, a line of JSON each; "" for nowhere.

    is_on: whether any request may be traced, for a path that has no time to ask further.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._all = _Sampler({})
        self._own: dict[str, _Sampler] = {}
        self.is_on = False

    def settings(self, model: str = "") -> dict[str, Any]:
        """Those of a model, or of all."""
        sampler = self._own.get(model, self._all)
        return {**sampler.settings, **_FIXED, "trace_file": self._path}

    def change(self, model: str, given: Mapping[str, object]) -> None:
        """Take over what is given, for one model or ("") for all that have none of their own.

        None puts a setting back. Raises BadInput, and Unsupported for what clients may not change.
        """
        now = dict(self._own.get(model, self._all).settings)
        for name, value in given.items():
            if value is None:
                now[name] = (self._all.settings if model else _DEFAULTS).get(name)
            elif read := _read(name, value, self._path):
                now[name] = read
        sampler = _Sampler({name: now[name] for name in _DEFAULTS})
        if model:
            self._own[model] = sampler
        else:
            self._all = sampler
        self.is_on = any(each.is_on for each in (self._all, *self._own.values()))

    def takes(self, model: str) -> bool:
        """Whether the request that now comes is one to trace."""
        return self._own.get(model, self._all).takes()

    def write(self, model: str, version: str, request_id: str, stamps: Mapping[str, float]) -> None:
        """Put down one request; `stamps` are monotonic seconds by Triton's names of the events."""
        if self._file is None:
            self._file = Path(self._path).open("ab")  # noqa: SIM115  # open until the server ends
        line = {
            "model_name": model,
            "model_version": version,
            "request_id": request_id,
            "timestamps": [{"name": name, "ns": round(at * 1e9)} for name, at in stamps.items()],
            "written_at": time.time(),
        }
        self._file.write(msgspec.json.encode(line) + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _read(name: str, value: object, path: str) -> Any:
    """The setting as it is kept, None for one that never changes; raises BadInput, Unsupported."""
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list) or not given or not all(isinstance(v, str) for v in given):
        raise BadInput(f"the trace setting {name!r} is {value!r}: give a string or a list of them")
    if name == "trace_level":
        if unknown := [each for each in given if each not in _LEVELS]:
            raise Unsupported(
                f"trace_level {unknown[0]!r} is not offered: use {' or '.join(_LEVELS)}"
            )
        if given != ["OFF"] and not path:
            raise Unsupported(
                "traces have no file to go to: the gateway's setting trace_file names it"
            )
        return given
    if name in ("trace_rate", "trace_count"):
        least = 1 if name == "trace_rate" else -1
        text = given[0]
        if not text.removeprefix("-").isdigit() or not least <= int(text) < 2**31:
            raise BadInput(f"{name} is {text!r}: give a whole number of at least {least}")
        return text
    fixed = {**_FIXED, "trace_file": path}
    if name not in fixed:
        known = ", ".join([*_DEFAULTS, *fixed])
        raise BadInput(f"the trace setting {name!r} is unknown: use one of {known}")
    if given != [fixed[name]]:
        raise Unsupported(f"{name} cannot be changed by a client: it is {fixed[name]!r}")
    return None
