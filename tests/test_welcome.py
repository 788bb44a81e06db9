"""The lines a newcomer is told to try are lines that work."""

from __future__ import annotations

import re
import shlex

import pytest
from builders import TOY, entry, offer, variant
from msgspec.structs import replace

from gateway import welcome
from gateway.core import signature
from gateway.core.catalog import Entry
from gateway.oip import json_codec
from gateway.shared_memory import Regions
from model_repo.records import TensorSpec

JSON_TYPES = ["FP32", "INT64", "BOOL", "BYTES"]


def found(*specs: TensorSpec) -> Entry:
    model = replace(TOY, inputs=specs or TOY.inputs)
    return entry(offer(variant("ref")), model=model)


def lines(each: Entry) -> list[str]:
    return welcome.lines(each, "127.0.0.1", 1, 2, 3)


def body(line: str) -> bytes:
    return shlex.split(line)[-1].encode()


def test_there_are_five_lines() -> None:
    assert len(lines(found())) == 5
    assert "toy in 1 variants: HTTP http://127.0.0.1:1, gRPC 127.0.0.1:2" in lines(found())[0]
    assert "127.0.0.1:3/metrics" in lines(found())[4]


@pytest.mark.parametrize("datatype", JSON_TYPES)
def test_the_calls_fit_the_model(datatype: str) -> None:
    each = found(TensorSpec("x", datatype, (-1, 2, -1)))
    for line in lines(each)[1:3]:
        request = json_codec.decode("toy", "", {}, body(line), 0.0, Regions())
        assert signature.rows(each.model, request) == 1


def test_the_calls_fit_a_model_of_several_inputs() -> None:
    each = found(TensorSpec("a", "FP32", (-1, 2)), TensorSpec("b", "INT64", (-1, 3)))
    request = json_codec.decode("toy", "", {}, body(lines(each)[1]), 0.0, Regions())
    assert signature.rows(each.model, request) == 1


def test_the_snippet_is_python() -> None:
    each = found(TensorSpec("a", "FP32", (-1, 2)), TensorSpec("b", "BYTES", (-1, 3)))
    code = shlex.split(lines(each)[3])[2]
    compile(code, "snippet", "exec")
    assert re.findall(r"InferInput\('(\w)'", code) == ["a", "b"]


def test_an_empty_repository_is_told_what_to_do() -> None:
    (line,) = welcome.lines(None, "127.0.0.1", 1, 2, 3)
    assert "empty" in line and "farebox compile digits" in line
