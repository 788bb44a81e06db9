"""What a search shelved is compared once more, with the figures of the report."""

from __future__ import annotations

from pathlib import Path

import tiny_recipe
from builders import prices
from shelf import profile, shelve

from compilers import pending
from compilers.plan import Plan, extend, read_plan
from compilers.search.standing import settle
from model_repo import options
from model_repo.findings import read_skips
from model_repo.records import PassStep, VariantKey
from model_repo.store import Store

NEW, OLD, GOOD = "cpu-found-new-1111", "cpu-found-old-2222", "cpu-found-good-3333"


def key(variant: str) -> VariantKey:
    return VariantKey("tiny", "1", variant)


def shelved(tmp_path: Path) -> tuple[Plan, Store]:
    """int8 is cheaper than what was found, except for one that is more accurate."""
    plan, store = read_plan(tiny_recipe.write(tmp_path)), Store(tmp_path / "repository")
    shelve(store, "cpu-fp32", profile(device_s=9e-4), kind="reference", name="tiny")
    shelve(store, "cpu-int8", profile(device_s=1e-4), name="tiny")
    for name, told in (
        (NEW, profile(device_s=2e-4)),
        (OLD, profile(device_s=2e-4)),
        (GOOD, profile(accuracy=0.98, device_s=2e-4)),
    ):
        shelve(store, name, told, name="tiny")
    steps = (PassStep("quantize", {"mode": "dynamic"}),)
    return extend(plan, {"found-new-1111": steps, "found-good-3333": steps}), store


def test_what_is_matched_in_full_is_taken_off_and_not_made_again(tmp_path: Path) -> None:
    plan, store = shelved(tmp_path)
    told = settle(plan, store, {key(NEW), key(GOOD)}, prices(), options.today())
    reason = "cpu-int8 is no worse in accuracy, p99 and cost"
    assert told == [
        f"tiny/1/{NEW} was measured in full and is not kept: {reason}",
        f"tiny/1/{OLD}: {reason}; if nobody uses it: farebox remove tiny/1/{OLD} "
        f"--repository {store.root}",
        f"found, and on the front: {GOOD}",
    ]
    there = {each.variant for each in store.keys("tiny", "1")}
    assert there == {"cpu-fp32", "cpu-int8", OLD, GOOD}
    assert read_skips(store, "tiny", "1")[NEW].reason == reason
    skip = read_skips(store, "tiny", "1")[NEW]
    (planned,) = [each for each in plan.variants if each.key == key(NEW)]
    why = pending.settled(planned, plan)
    assert pending._is_settled(skip, why, store.keys("tiny", "1"))
    store.remove("tiny", "1", "cpu-int8")
    assert not pending._is_settled(skip, why, store.keys("tiny", "1"))


def test_with_nothing_found_it_says_so(tmp_path: Path) -> None:
    plan, store = read_plan(tiny_recipe.write(tmp_path)), Store(tmp_path / "repository")
    shelve(store, "cpu-fp32", kind="reference", name="tiny")
    assert settle(plan, store, (), prices(), options.today()) == ["found, and on the front: none"]
