"""Decoded YAML becomes a record, or one sentence."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import pytest

from model_repo.errors import BadInput
from model_repo.fields import convert


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    depth: int = 1


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    color: Literal["red", "blue"] = "red"
    sizes: tuple[Annotated[int, msgspec.Meta(ge=1)], ...] = ()
    names: dict[str, str] = {}
    inner: Inner = msgspec.field(default_factory=Inner)


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


def test_converts() -> None:
    assert convert({"color": "blue", "inner": {"depth": 2}}, Outer, "x") == Outer(
        "blue", inner=Inner(2)
    )


@pytest.mark.parametrize(
    ("value", "record", "message"),
    [
        (
            {"colour": "red"},
            Outer,
            "x has no key 'colour': the allowed keys are color, sizes, names, inner",
        ),
        ({"inner": {"width": 1}}, Outer, "x, inner has no key 'width': the allowed keys are depth"),
        ({"a": 1}, Nothing, "x has no key 'a': the allowed keys are none"),
        ({"color": "green"}, Outer, "x: color is 'green': choose one of 'red', 'blue'"),
        ({"color": ["red"]}, Outer, "x: color is ['red']: choose one of 'red', 'blue'"),
        ({"inner": {"depth": "deep"}}, Outer, "x, inner, depth is 'deep': give a whole number"),
        ({"inner": 3}, Outer, "x, inner is 3: give a mapping of keys to values"),
        ({"sizes": [1, 0]}, Outer, "x, sizes, entry 2 is 0: give a whole number >= 1"),
        ({"names": 3}, Outer, "x, names is 3: give a mapping of keys to values"),
        ([1], Outer, "x is [1]: give a mapping of keys to values"),
    ],
)
def test_names_the_key_and_what_is_allowed(
    value: object, record: type[msgspec.Struct], message: str
) -> None:
    with pytest.raises(BadInput) as caught:
        convert(value, record, "x")
    assert str(caught.value) == message
