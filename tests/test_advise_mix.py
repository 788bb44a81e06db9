"""A mix of requests is read whole or refused with the key that is wrong and what is allowed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compilers.advice.mix import parse_mix
from compilers.commands.advise import EXAMPLE
from model_repo.errors import BadInput

TEXT = """
requests_per_second: 10
classes:
  - {name: strict, share: 0.25, latency_ms: 20, min_accuracy: 0.98}
  - {name: loose, share: 0.75, items: 32}
"""


def test_reads_every_part() -> None:
    mix = parse_mix(TEXT, "mix.yaml")
    strict, loose = mix.classes
    assert (strict.latency_ms, strict.min_accuracy, strict.items) == (20, 0.98, 1)
    assert (loose.latency_ms, loose.min_accuracy, loose.items) == (None, None, 32)
    assert mix.daily(strict) == 10 * 86_400 * 0.25
    daily = parse_mix(TEXT.replace("requests_per_second: 10", "requests_per_day: 864000"), "m")
    assert daily.daily(loose) == mix.daily(loose)


def test_the_example_in_the_help_is_a_mix() -> None:
    mix = parse_mix(EXAMPLE.split("\n\n", 1)[1], "the help")
    assert [each.name for each in mix.classes] == ["strict", "bulk"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("requests_per_second: 10\n", "", "one of requests_per_day and requests_per_second"),
        ("requests_per_second", "requests_per_day: 1\nrequests_per_second", "give one of"),
        (
            "requests_per_second",
            "requests_per_hour",
            "no key 'requests_per_hour'.*requests_per_day",
        ),
        ("_second: 10", "_second: 0", "requests_per_second is 0: give a number > 0"),
        ("0.75", "0.7", r"add up to 0\.95: make that 1"),
        ("0.75", "7", "classes, entry 2, share is 7: give a number <= 1"),
        ("name: loose", "name: strict", "two classes are named 'strict'"),
        ("items: 32", "items: 0", "items is 0: give a whole number >= 1"),
        ("items: 32", "rows: 32", r"classes\[1\] has no key 'rows'.*items"),
        ("latency_ms: 20", "latency_ms: fast", "latency_ms is 'fast': give a number"),
        ("share: 0.25, ", "", "lacks the key 'share'"),
    ],
)
def test_refuses_in_one_sentence(old: str, new: str, words: str) -> None:
    assert old in TEXT
    with pytest.raises(BadInput, match=words) as caught:
        parse_mix(TEXT.replace(old, new, 1), "mix.yaml")
    assert str(caught.value).startswith("mix.yaml") and "\n" not in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_a_mix_or_bad_input(text: str) -> None:
    with pytest.raises(BadInput):
        parse_mix(text, "mix.yaml")
