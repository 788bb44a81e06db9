"""What is on the shelf becomes a catalog; what is broken is a sentence and stops nobody."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from builders import TOY, prices, shelve, variant
from msgspec.structs import replace

from gateway import loader
from gateway.loader import Loaded
from gateway.settings import Settings
from model_repo.errors import NotFound
from model_repo.records import Model
from model_repo.runtimes import null
from model_repo.store import Store

DAY = date(2026, 1, 1)


def load(store: Store, before: Loaded | None = None, **settings: object) -> Loaded:
    return loader.load(store, prices(), Settings(**settings), 2, DAY, before)  # type: ignore[arg-type]  # each test names real settings


def served(found: Loaded) -> list[str]:
    return [str(offer.key) for offer in found.catalog.offers()]


def test_everything_sound_is_served_and_warm(tmp_path: Path) -> None:
    store = shelve(tmp_path / "r", variant("ref"), variant("low"))
    found = load(store)
    assert served(found) == ["toy/1/ref", "toy/1/low"] and found.problems == []
    assert len(found.sessions) == 2
    for offer in found.catalog.offers():
        (replica,) = found.replicas[offer.key]
        assert (replica.state, replica.slots) == ("ready", 2)
        assert replica.id in found.sessions and offer.usd_per_device_s == pytest.approx(0.001)


def test_sessions_are_opened_for_as_many_runs_at_once_as_there_are_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, seen, whole = shelve(tmp_path / "r", variant("ref")), [], null.open_session

    def opened(path: Path, model: Model, slots: int = 1) -> null.NullSession:
        seen.append(slots)
        return whole(path, model, slots)

    monkeypatch.setattr(null, "open_session", opened)
    (offer,) = (found := load(store)).catalog.offers()
    assert seen == [found.replicas[offer.key][0].slots] == [2]


def test_an_empty_shelf_is_no_error(tmp_path: Path) -> None:
    assert served(load(Store(tmp_path / "none"))) == []


def spoil(store: Store, what: str) -> None:
    folder = store.root / "toy" / "1" / "low"
    manifest = folder / "variant.json"
    document = json.loads(manifest.read_text())
    if what == "artifact":
        (folder / "r-null.json").write_text("{ }")
    elif what == "no artifact":
        (folder / "r-null.json").unlink()
    elif what == "manifest":
        manifest.write_text("{")
    elif what == "runtime":
        document["artifact"]["format"] = "nowhere"
    elif what == "target":
        document["target"] = "moon"
    elif what == "no latency":
        document["profile"]["latency"] = []
    elif what == "no size":
        document["profile"]["latency"][0]["batch_size"] = 0
    if what != "manifest":
        manifest.write_text(json.dumps(document))


@pytest.mark.parametrize(
    "what",
    ["artifact", "no artifact", "manifest", "runtime", "target", "no latency", "no size"],
)
def test_one_broken_variant_stops_no_other(tmp_path: Path, what: str) -> None:
    store = shelve(tmp_path / "r", variant("ref"), variant("low"), variant("mid"))
    spoil(store, what)
    found = load(store)
    assert sorted(served(found)) == ["toy/1/mid", "toy/1/ref"]
    assert len(found.problems) == 1 and found.problems[0]


def test_one_broken_model_stops_no_other(tmp_path: Path) -> None:
    store = shelve(tmp_path / "r", variant("ref"))
    other = replace(TOY, name="other")
    shelve(tmp_path / "r", variant("ref", model=other), model=other)
    (store.root / "toy" / "1" / "model.json").write_text("{")
    found = load(store)
    assert served(found) == ["other/1/ref"] and len(found.problems) == 1


def test_a_model_without_reference_is_left_out_with_a_sentence(tmp_path: Path) -> None:
    found = load(shelve(tmp_path / "r", variant("low")))
    assert served(found) == []
    assert found.problems == ["toy/1 is not served: it has no usable reference variant"]


def test_the_memory_cap_keeps_the_reference_then_the_cheapest(tmp_path: Path) -> None:
    made = [variant("ref", 0.1), variant("mid", 0.03), variant("low", 0.01)]
    store = shelve(tmp_path / "r", *made)  # each takes 1000 bytes
    assert served(load(store, memory_cap_bytes=500)) == ["toy/1/ref"]
    assert served(load(store, memory_cap_bytes=2500)) == ["toy/1/ref", "toy/1/low"]
    assert len(served(load(store, memory_cap_bytes=3000))) == 3


def test_the_memory_cap_is_one_for_all_models(tmp_path: Path) -> None:
    other = replace(TOY, name="other")
    made = [variant("ref", 0.1, model=other), variant("low", 0.02, model=other)]
    shelve(tmp_path / "r", *made, model=other)
    store = shelve(tmp_path / "r", variant("ref", 0.1), variant("low", 0.01))
    assert served(load(store, memory_cap_bytes=3500)) == ["other/1/ref", "toy/1/ref", "toy/1/low"]
    assert served(load(store, memory_cap_bytes=1)) == ["other/1/ref", "toy/1/ref"]


def test_a_reload_keeps_sessions_and_replicas_of_what_did_not_change(tmp_path: Path) -> None:
    store = shelve(tmp_path / "r", variant("ref"), variant("low"))
    before = load(store)
    shelve(tmp_path / "r", variant("low"), variant("new"), times={"low": {"fill": 1.0}})
    after = load(store, before)
    assert sorted(served(after)) == ["toy/1/low", "toy/1/new", "toy/1/ref"]
    ref, low = variant("ref").key, variant("low").key
    assert after.replicas[ref] == before.replicas[ref]
    kept = before.replicas[ref][0].id
    assert after.sessions[kept] is before.sessions[kept]
    assert after.replicas[low][0].id not in before.sessions, "its artifact is another one"


def test_what_was_removed_is_gone(tmp_path: Path) -> None:
    store = shelve(tmp_path / "r", variant("ref"), variant("low"))
    before = load(store)
    store.remove("toy", "1", "low")
    after = load(store, before)
    assert served(after) == ["toy/1/ref"] and len(after.sessions) == 1


def test_estimated_profiles_are_not_routed_to_unless_allowed(tmp_path: Path) -> None:
    made = variant("low", source="estimated")
    store = shelve(tmp_path / "r", variant("ref"), made)
    routable = {o.key.variant: o.is_routable for o in load(store).catalog.offers()}
    assert routable == {"ref": True, "low": False}
    assert all(o.is_routable for o in load(store, allow_estimated=True).catalog.offers())


def test_an_unknown_policy_is_told_those_there_are() -> None:
    assert loader.load_policy("cheapest", True).is_best_effort
    with pytest.raises(NotFound, match=r"no 'nope' in routing: choose one of .*cheapest"):
        loader.load_policy("nope", False)
