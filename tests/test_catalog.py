"""What a name, a version and a variant lead to."""

from __future__ import annotations

import pytest
from builders import TOY, entry, offer, variant
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.catalog import Catalog, Entry
from model_repo.errors import NotFound


def version(number: str, name: str = "toy") -> Entry:
    model = replace(TOY, name=name, version=number)
    return entry(offer(variant("ref", model=model)), model=model)


def test_a_missing_version_means_the_latest() -> None:
    catalog = Catalog([version("9"), version("10"), version("1")])
    assert catalog.find("toy").model.version == "10"
    assert catalog.find("toy", "9").model.version == "9"
    assert catalog.versions("toy") == ["1", "9", "10"]


@given(st.lists(st.integers(0, 10**6), min_size=1, unique=True))
def test_versions_go_by_their_numbers(numbers: list[int]) -> None:
    catalog = Catalog([version(f"v{number}") for number in numbers])
    assert catalog.versions("toy") == [f"v{number}" for number in sorted(numbers)]
    assert catalog.find("toy").model.version == f"v{max(numbers)}"


@given(st.lists(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,5}", fullmatch=True), unique=True))
def test_any_version_names_can_be_ordered(names: list[str]) -> None:
    catalog = Catalog([version(name) for name in names])
    assert sorted(catalog.versions("toy")) == sorted(names)


@pytest.mark.parametrize(("name", "number"), [("none", ""), ("none", "1"), ("toy", "2")])
def test_what_is_not_there_is_named_in_the_words_clients_look_for(name: str, number: str) -> None:
    with pytest.raises(NotFound, match=rf"^Request for unknown model: '{name}'"):
        Catalog([version("1")]).find(name, number)


def test_an_unknown_variant_is_told_those_there_are() -> None:
    found = entry(offer(variant("ref")), offer(variant("low")))
    assert found.offer("low").key.variant == "low"
    with pytest.raises(NotFound, match="no variant 'x': it has ref, low"):
        found.offer("x")


def test_entries_and_offers_are_listed_in_order() -> None:
    catalog = Catalog([version("2", "b"), version("1", "b"), version("1", "a")])
    listed = [(e.model.name, e.model.version) for e in catalog.entries()]
    assert listed == [("a", "1"), ("b", "1"), ("b", "2")]
    assert [str(o.key) for o in catalog.offers()] == ["a/1/ref", "b/1/ref", "b/2/ref"]


def test_an_empty_catalog_knows_nothing() -> None:
    assert Catalog([]).entries() == [] and Catalog([]).versions("toy") == []
