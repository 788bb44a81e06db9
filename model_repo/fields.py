"""Turn decoded YAML into a record, or say which key is wrong and which are allowed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import msgspec

from model_repo.errors import BadInput

Record = TypeVar("Record")
_WORDS = {
    "object": "a mapping of keys to values",
    "array": "a list",
    "str": "a string, in quotes if it looks like a number",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
}


def convert(value: Any, record: type[Record], where: str) -> Record:
    """`value` as a `record`; raises BadInput naming the key that is wrong and what is allowed."""
    _check(value, record, where)
    try:
        return msgspec.convert(value, record)
    except msgspec.ValidationError as error:
        raise BadInput(_sentence(str(error), value, where)) from error


def _sentence(reason: str, value: Any, where: str) -> str:
    """What msgspec found wrong, in words: the key, what was given, and what is allowed."""
    reason, _, path = reason.partition(" - at `$")
    found = re.fullmatch(r"Expected `([^`]+)`(.*?)(, got `.*`)?", reason)
    for step in re.findall(r"\.(\w+)|\[(\d+|\.\.\.)\]", path):
        name, number = step
        where += f", {name}" if name else f", entry {int(number) + 1}" if number[0] != "." else ""
        try:
            value = value[name or int(number)]
        except (KeyError, IndexError, TypeError, ValueError):  # "..." stands for any key
            return f"{where}: {reason}"
    if found is None:
        return f"{where} is {value!r:.80}: {reason}"
    kinds = " or ".join(_WORDS.get(kind, kind) for kind in found[1].split(" | "))
    return f"{where} is {value!r:.80}: give {kinds}{found[2]}"


def _check(value: Any, kind: Any, where: str) -> None:
    # msgspec names the stranger but not its allowed neighbours, and a reader needs both.
    arguments = get_args(kind)
    if get_origin(kind) is Annotated:
        _check(value, arguments[0], where)
    elif NoneType in arguments:
        if value is not None:
            for each in arguments:
                _check(value, each, where)
    elif get_origin(kind) is Literal:
        if value not in arguments:
            choices = ", ".join(map(repr, arguments))
            raise BadInput(f"{where} is {value!r}: choose one of {choices}")
    elif isinstance(value, Mapping):
        if get_origin(kind) is dict:
            for key, given in value.items():
                _check(given, arguments[1], f"{where}, {key}")
        elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            _check_keys(value, kind, where)
    elif isinstance(value, list) and get_origin(kind) is tuple:
        for number, given in enumerate(value):
            _check(given, arguments[0], f"{where}[{number}]")


def _check_keys(value: Mapping[Any, Any], record: type[msgspec.Struct], where: str) -> None:
    fields = {field.encode_name: field for field in msgspec.structs.fields(record)}
    allowed = f"the allowed keys are {', '.join(fields) or 'none'}"
    for key in value:
        if key not in fields:
            raise BadInput(f"{where} has no key {key!r}: {allowed}")
    for key, given in value.items():
        joint = ": " if get_origin(fields[key].type) is Literal else ", "
        _check(given, fields[key].type, f"{where}{joint}{key}")
    for key, field in fields.items():
        if field.required and key not in value:
            raise BadInput(f"{where} lacks the key {key!r}: give it a value ({allowed})")
