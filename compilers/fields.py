"""Turn decoded YAML into a record, or say which key is wrong and which are allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from model_repo.errors import BadInput

Record = TypeVar("Record", bound=msgspec.Struct)


def convert(value: Any, record: type[Record], where: str) -> Record:
    """`value` as a `record`; raises BadInput naming the key that is wrong and what is allowed."""
    _refuse_unknown(value, record, where)
    try:
        return msgspec.convert(value, record)
    except msgspec.ValidationError as error:
        raise BadInput(f"{where}: {error}") from error


def _refuse_unknown(value: Any, record: type[msgspec.Struct], where: str) -> None:
    # msgspec names the stranger but not its allowed neighbours, and a reader needs both.
    if not isinstance(value, Mapping):
        return
    fields = {field.encode_name: field for field in msgspec.structs.fields(record)}
    for key, given in value.items():
        if key not in fields:
            allowed = ", ".join(fields) or "none"
            raise BadInput(f"{where} has no key {key!r}: the allowed keys are {allowed}")
        kind = fields[key].type
        if get_origin(kind) is Literal and given not in get_args(kind):
            choices = ", ".join(map(repr, get_args(kind)))
            raise BadInput(f"{where}: {key} is {given!r}: choose one of {choices}")
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            _refuse_unknown(given, kind, f"{where}, {key}")
