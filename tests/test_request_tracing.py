"""Traces of requests: sampled, counted, and to nowhere but the operator's file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.tracing import Tracer
from model_repo.errors import BadInput, Unsupported

ON = {"trace_level": ["TIMESTAMPS"], "trace_rate": "3"}


def test_every_third_request_is_traced_until_the_count_is_used_up(tmp_path: Path) -> None:
    tracer = Tracer(str(tmp_path / "t"))
    assert not tracer.is_on and not tracer.takes("m")
    tracer.change("", {**ON, "trace_count": ["2"]})
    assert tracer.is_on
    assert [tracer.takes("m") for _ in range(12)] == [False, False, True] * 2 + [False] * 6


def test_a_model_may_have_settings_of_its_own(tmp_path: Path) -> None:
    tracer = Tracer(str(tmp_path / "t"))
    tracer.change("m", {"trace_level": "TIMESTAMPS", "trace_rate": "1"})
    assert tracer.takes("m") and not tracer.takes("other")
    assert tracer.settings("other")["trace_level"] == ["OFF"]
    tracer.change("m", {"trace_level": None})
    assert not tracer.is_on and tracer.settings("m")["trace_rate"] == "1"


def test_a_line_for_each_request(tmp_path: Path) -> None:
    tracer = Tracer(str(tmp_path / "t"))
    for name in ("a", "b"):
        tracer.write("m", "1", name, {"REQUEST_START": 1.5, "REQUEST_END": 2.0})
    tracer.close()
    lines = [json.loads(line) for line in (tmp_path / "t").read_text().splitlines()]
    assert [line["request_id"] for line in lines] == ["a", "b"]
    assert lines[0]["timestamps"] == [
        {"name": "REQUEST_START", "ns": 1_500_000_000}, {"name": "REQUEST_END", "ns": 2 * 10**9},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "kind", "sentence"),
    [
        ({"trace_level": ["TENSORS"]}, Unsupported, "use OFF or TIMESTAMPS"),
        ({"trace_file": "/etc/x"}, Unsupported, "trace_file cannot be changed by a client"),
        ({"trace_mode": "opentelemetry"}, Unsupported, "trace_mode cannot be changed"),
        ({"trace_rate": "0"}, BadInput, "at least 1"),
        ({"trace_count": "-2"}, BadInput, "at least -1"),
        ({"trace_count": "many"}, BadInput, "'many'"),
        ({"trace_rate": 3}, BadInput, "give a string"),
        ({"what": "1"}, BadInput, "'what' is unknown: use one of trace_level"),
    ],
)
def test_what_makes_no_sense_changes_nothing(
    tmp_path: Path, given: dict[str, object], kind: type[Exception], sentence: str
) -> None:
    tracer = Tracer(str(tmp_path / "t"))
    before = tracer.settings()
    with pytest.raises(kind, match=sentence):
        tracer.change("", {**ON, **given})
    assert tracer.settings() == before and not tracer.is_on


def test_without_a_file_nothing_is_traced() -> None:
    with pytest.raises(Unsupported, match="setting trace_file names it"):
        Tracer("").change("", ON)
