"""One node as its operator sees it: attributes, and inputs in the form that it asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from model_repo.errors import Unsupported
from model_repo.tensors import Array


@dataclass(frozen=True)
class Call:
    """version: of the standard operators. values: the inputs, None where one is left out.

    convert: a value as an array of jax.
    """

    node: Any
    version: int
    values: list[Any]
    convert: Callable[[Any], Any]

    @cached_property
    def attributes(self) -> dict[str, Any]:
        from onnx import helper

        found = {item.name: helper.get_attribute_value(item) for item in self.node.attribute}
        return {k: v.decode() if isinstance(v, bytes) else v for k, v in found.items()}

    def attribute(self, name: str, default: Any = None) -> Any:
        """The value of an attribute, or what stands for it where it is left out."""
        return self.attributes.get(name, default)

    def has(self, place: int) -> bool:
        """Whether this input is given."""
        return place < len(self.values) and self.values[place] is not None

    def array(self, place: int = 0) -> Any:
        """An input as an array of jax."""
        return self.convert(self.values[place])

    def arrays(self) -> list[Any]:
        """All inputs as arrays of jax."""
        return [self.convert(value) for value in self.values]

    def known(self, place: int) -> Array:
        """An input as NumPy has it; raises Unsupported if only running the graph tells it."""
        value = self.values[place]
        if not isinstance(value, np.ndarray):
            raise Unsupported(
                f"its input {self.node.input[place]!r} depends on the data, and a program for a "
                "TPU must know it before"
            )
        return value

    def sizes(self, place: int) -> list[Any]:
        """An input as a list of whole numbers, or of sizes with the batch among them."""
        value = self.known(place).ravel()
        return list(value) if value.dtype == object else [int(size) for size in value]

    def listed(self, name: str, place: int) -> list[int] | None:
        """What is an attribute or an input, by the version; None where it is left out."""
        if self.has(place):
            return self.sizes(place)
        given = self.attribute(name)
        return None if given is None else list(given)

    def axis(self, rank: int, default: int = 0, name: str = "axis") -> int:
        """The attribute `axis`, counted from the front."""
        found: int = self.attribute(name, default)
        return found + rank if found < 0 else found


Operator = Callable[[Call], Any]
"""Gives one value, or a tuple of as many as the node has outputs."""
