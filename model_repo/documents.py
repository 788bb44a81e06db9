"""Turn YAML text into a record, or say in one sentence which key is wrong."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import yaml

from model_repo.errors import BadInput

Record = TypeVar("Record")


class _Loader(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):  # type: ignore[misc]  # the base is chosen at import
    """Refuses a key given twice, which YAML would silently overwrite."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice", key.start_mark
                )
            seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def parse(text: str, record: type[Record], name: str) -> Record:
    """Read `text` as one YAML document of type `record`.

    Raises BadInput naming `name` (the file), the key and what was expected there.
    """
    try:
        document = yaml.load(text, Loader=_Loader)  # a SafeLoader subclass
    except yaml.YAMLError as error:
        raise BadInput(f"{name} is not valid YAML: {' '.join(str(error).split())}") from error
    try:
        return msgspec.convert({} if document is None else document, record)
    except msgspec.ValidationError as error:
        raise BadInput(f"{name}: {error}") from error
