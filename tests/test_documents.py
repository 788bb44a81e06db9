"""Any YAML text becomes a record, or one sentence that says where it is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from model_repo.documents import parse
from model_repo.errors import BadInput


class Part(Struct, forbid_unknown_fields=True):
    name: str
    size: float = 1.0


class Whole(Struct, forbid_unknown_fields=True):
    parts: tuple[Part, ...] = ()
    named: dict[str, Part] = {}
    other: Part | None = None
    rate: float = 0.0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("? [a]\n: 1", "a key is a list or a mapping, not a word (line 1, column 3)"),
        ("? {a: b}\n: 1", "a key is a list or a mapping"),
        ("a: 2026-13-45", "'2026-13-45' is no date (line 1, column 4)"),
        ("a: !!float x", "'x' is no float"),
        ("a: !!bool x", "'x' is no bool"),
        ("a: !!timestamp x", "'x' is no date"),
        (f"a: {'9' * 5000}", "is no int"),
        ("a: &a [*a]", "recursive"),
        ("a: 1\na: 2", "the key 'a' stands twice (line 2, column 1)"),
        ("a: [", "not valid YAML"),
        ("a: b: c", "not valid YAML"),
        ("a: \x01", "not valid YAML"),
        ("a: !!python/object:os.system x", "not valid YAML"),
    ],
)
def test_what_is_no_yaml_is_said_in_one_sentence(text: str, reason: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(text, dict[str, Any], "f.yaml")
    assert str(caught.value).startswith("f.yaml is not valid YAML: ") and reason in str(
        caught.value
    )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("level", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_refused_and_not_a_crash(level: str) -> None:
    with pytest.raises(BadInput, match=r"f\.yaml is nested too deeply"):
        parse(level * 100_000, dict[str, Any], "f.yaml")
    with pytest.raises(BadInput):
        parse(level * 5, Whole, "f.yaml")


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "+1e-3", "1.0e-3", ".1e-2", "1.e-3", "0.001"])
def test_a_number_with_an_exponent_is_a_number(text: str) -> None:
    assert parse(f"rate: {text}", Whole, "f").rate == 0.001
    assert parse(f"rate: {text.replace('-', '')}", Whole, "f").rate in (1000.0, 10.0, 0.001)


@pytest.mark.parametrize("word", ["e5", "1e", "1e5x", "x1e5", "1 e5", "'1e5'"])
def test_what_only_looks_like_a_number_stays_a_word(word: str) -> None:
    assert parse(f"a: {word}", dict[str, Any], "f") == {"a": word.strip("'")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("parst: 1", "f has no key 'parst': the allowed keys are parts, named, other, rate"),
        ("parts: [{nam: a}]", "f, parts[0] has no key 'nam': the allowed keys are name, size"),
        ("named: {x: {nam: a}}", "f, named, x has no key 'nam': the allowed keys are name, size"),
        ("other: {nam: a}", "f, other has no key 'nam': the allowed keys are name, size"),
        (
            "parts: [{name: a}, {size: 2}]",
            "f, parts[1] lacks the key 'name': give it a value (the allowed keys are name, size)",
        ),
        ("rate: fast", "f, rate is 'fast': give a number"),
        ("1: 2", "f has no key 1: the allowed keys are parts, named, other, rate"),
    ],
)
def test_the_key_is_named_and_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(text, Whole, "f")
    assert str(caught.value) == message


def test_a_merged_mapping_may_be_overridden() -> None:
    found = parse("other: &o {name: a, size: 2}\nnamed: {x: {<<: *o, size: 3}}", Whole, "f")
    assert found.named == {"x": Part("a", 3)}


@given(st.text(alphabet="ab01-:[]{}?&*!<>|'\"#,. \n\te", max_size=40))
def test_any_text_is_read_or_refused_never_worse(text: str) -> None:
    try:
        parse(text, dict[Any, Any], "f")
    except BadInput as error:
        assert "\n" not in str(error)
