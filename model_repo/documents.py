"""Turn YAML text into a record, or say in one sentence which key is wrong."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import yaml

from model_repo.errors import BadInput
from model_repo.fields import convert

Record = TypeVar("Record")

_FLOAT = "tag:yaml.org,2002:float"
_EXPONENT = re.compile(r"[-+]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)[eE][-+]?[0-9]+\Z")
"""1e-3 and 1E5, which YAML 1.1 takes for words and everyone else for numbers."""


class _Loader(yaml.SafeLoader):
    """Refuses a key given twice, a node inside itself, and says where a value is impossible.

    Written in Python throughout: the one in C has no end to its stack.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        # Whatever is built at once cannot contain itself: PyYAML refuses it.
        try:
            return super().construct_object(node, deep=True)
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            kind = node.tag.rpartition(":")[2].replace("timestamp", "date")
            raise _wrong(f"{node.value!r} is no {kind}", node) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else []:
            if not isinstance(key, yaml.ScalarNode):
                raise _wrong("a key is a list or a mapping, not a word", key)
            if key.value in seen:
                raise _wrong(f"the key {key.value!r} stands twice", key)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(_FLOAT, _EXPONENT, list("-+.0123456789"))


def _wrong(problem: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def parse(text: str, record: type[Record], name: str) -> Record:
    """Read `text` as one YAML document of type `record`.

    Raises BadInput naming `name` (the file), the key and what was expected there.
    """
    try:
        document = yaml.load(text, Loader=_Loader)  # a SafeLoader subclass
    except yaml.YAMLError as error:
        raise BadInput(f"{name} is not valid YAML: {_reason(error)}") from error
    except RecursionError as error:
        raise BadInput(f"{name} is nested too deeply: write it with fewer levels") from error
    return convert({} if document is None else document, record, name)


def _reason(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or not problem:
        return " ".join(str(error).split())
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})"
