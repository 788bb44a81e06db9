"""Looks through a torch.export program before torch loads it: loading some would run code.

torch.export.load unpickles weights, constants and sample inputs wherever the archive says so, loads
libraries from it, evaluates shape expressions and guards as Python, and calls any attribute of
torch by name. A program that needs none of this is numbers and a graph of ATen operators, and only
such a one is let through.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from model_repo.errors import Corrupt

ROOT, MODEL = "program/", "models/model.json"
SETTINGS = "extra/farebox.json"
SAMPLES = "data/sample_inputs/model.pt"
_FILES = re.compile(
    r"models/model\.json|extra/farebox\.json|archive_format|archive_version|byteorder"
    r"|\.data/version|data/sample_inputs/model\.pt"
    r"|data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)"
)
_OPERATOR = re.compile(
    r"torch\.ops\.aten\.\w+\.\w+"
    r"|torch\.sym_(max|min|not|int|float|ite|sum)"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pow|eq|ne|lt|le|gt|ge|getitem|and_|or_)"
)
_SYMBOL = re.compile(r"Symbol\('[su]\d+'(, (positive|nonnegative|integer)=True)*\)")
_SHAPE = re.compile(r"[\w\s+\-*/(),%<>=]*")
_NAME = re.compile(r"[A-Za-z_]\w*")
_IN_SHAPES = {
    *("Add", "CeilDiv", "CleanDiv", "FloorDiv", "IntTrueDiv", "Integer", "Max", "Min", "Mod"),
    *("ModularIndexing", "Mul", "Pow", "PythonMod", "Rational", "ToFloat"),
}
_TREES = {"builtins.tuple", "builtins.list", "builtins.dict", "builtins.NoneType", None}


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """How a program is to be run on a GPU; see the options of the gpu target."""

    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    mode: Literal["eager", "compiled", "graphs"] = "graphs"


def read_settings(path: Path) -> Settings:
    """How the program at `path` is to be run; raises Corrupt unless it is safe to load."""
    try:
        with zipfile.ZipFile(path) as file:
            _check(file)
            return msgspec.json.decode(file.read(ROOT + SETTINGS), type=Settings)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise Corrupt(f"{path} is no torch.export program of ours: {error}") from error


def _check(file: zipfile.ZipFile) -> None:
    """Raise ValueError, or KeyError, with what is not as a harmless program has it."""
    names = file.namelist()
    if len(set(names)) < len(names):
        raise ValueError("a file stands in it twice")
    for name in names:
        if not name.startswith(ROOT) or not _FILES.fullmatch(name.removeprefix(ROOT)):
            raise ValueError(f"it holds {name!r}, and programs hold no such file")
    if file.read(ROOT + SAMPLES):
        raise ValueError("it holds sample inputs, which torch would unpickle")
    for kind, prefix in (("weights", "weight_"), ("constants", "tensor_")):
        config = json.loads(file.read(f"{ROOT}data/{kind}/model_{kind}_config.json"))["config"]
        for name, told in config.items():
            if told["use_pickle"] or not re.fullmatch(prefix + r"\d+", told["path_name"]):
                raise ValueError(f"{name!r} is no plain tensor, and torch would unpickle it")
    _check_program(json.loads(file.read(ROOT + MODEL)))


def _check_program(program: Any) -> None:
    if program["guards_code"] or program["graph_module"]["metadata"]:
        raise ValueError("it holds guards or metadata, which torch would run as Python")
    for key, value in _items(program):
        if key == "target" and not _OPERATOR.fullmatch(str(value)):
            raise ValueError(f"it calls {value!r}, and only operators of ATen are let through")
        if key == "metadata" and value:
            raise ValueError("a node has metadata, by which torch looks names up")
        if key in ("as_operator", "as_custom_obj", "as_graph"):
            raise ValueError(f"an argument is given {key!r}, and only tensors and numbers may be")
        if key == "expr_str":
            _check_shape(str(value))
        if key in ("in_spec", "out_spec"):
            _check_tree(str(value))


def _items(part: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value in a JSON document, at any depth."""
    if isinstance(part, dict):
        yield from part.items()
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from _items(each)


def _check_shape(text: str) -> None:
    bare = _SYMBOL.sub("1", text)
    if not _SHAPE.fullmatch(bare) or set(_NAME.findall(bare)) - _IN_SHAPES:
        raise ValueError(f"the shape {text!r} is no arithmetic, and torch would run it as Python")


def _check_tree(text: str) -> None:
    for key, value in _items(json.loads(text)):
        if key == "type" and value not in _TREES:
            raise ValueError(f"its arguments are grouped by {value!r}, not by tuples and dicts")
