"""Cascades through the data plane and real runtimes: right row by row, and paid for exactly."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import staged
from builders import cascade, gate, load, request, serving, shelve, shelve_cascade, slo, variant
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway import batcher
from gateway.core.request import InferRequest, OutputAsk
from gateway.dataplane import DataPlane
from gateway.metrics import Page
from model_repo.errors import BadInput, Expired
from model_repo.store import Store

Play = Callable[[DataPlane], Awaitable[None]]


def drive(store: Store, play: Play, **settings: Any) -> None:
    async def main() -> None:
        async with serving(store, **settings) as plane:
            await play(plane)
            assert plane.scheduler.admission.in_flight == 0 and plane.scheduler.pool.is_idle()

    asyncio.run(main())


def ask(count: int, seed: int, **more: Any) -> InferRequest:
    known = {"model": "staged", "version": "", "received_s": time.monotonic(), "variant": "cas"}
    return InferRequest(inputs={"x": staged.rows(count, seed)}, **{**known, **more})


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0.001)


@settings(max_examples=15)
@given(
    threshold=st.integers(0, 30).map(lambda n: n + 0.5),
    mix=st.lists(
        st.tuples(st.integers(1, 12), st.sampled_from(["cas", "cas", "low", "ref", ""])),
        min_size=1,
        max_size=12,
    ),
    first_s=st.sampled_from([0.00002, 0.002]),
)
def test_answers_are_the_offline_ones_row_by_row_and_the_ledger_adds_up(
    threshold: float, mix: list[tuple[int, str]], first_s: float
) -> None:
    async def play(plane: DataPlane) -> None:
        asked = [ask(count, seed, variant=name) for seed, (count, name) in enumerate(mix)]
        answers = await asyncio.gather(*map(plane.infer, asked))
        wanted = {"cas": threshold, "low": -1.0, "ref": np.inf}
        seen, went_on = 0, 0
        for one, answer in zip(asked, answers, strict=True):
            served = str(answer.parameters["variant"])
            assert served == (one.variant or served)
            scores, goes_on = staged.offline(one.inputs["x"], wanted[served])
            assert np.array_equal(answer.outputs["y"], scores)
            assert np.array_equal(answer.outputs["best"][:, 0], scores.argmax(axis=1))
            assert ("escalated_rows" in answer.parameters) == (served == "cas")
            if served == "cas":
                assert answer.parameters["escalated_rows"] == goes_on.sum()
                seen, went_on = seen + len(goes_on), went_on + int(goes_on.sum())
        ledger, tally = plane.scheduler.books["cpu"], plane.scheduler.tally
        now = time.monotonic_ns()
        assert ledger.attributed_ns + ledger.idle_ns(now) == ledger.provisioned_ns(now)
        paid = sum(float(answer.parameters["cost_usd"]) for answer in answers)
        assert paid == pytest.approx(ledger.usd(ledger.attributed_ns))
        assert {key.variant for key in ledger.accounts()} <= {"low", "ref"}
        assert sum(tally.cascade_rows.values()) == seen
        assert sum(tally.cascade_escalated.values()) == went_on

    with tempfile.TemporaryDirectory() as folder:
        drive(staged.shelve(Path(folder) / "r", threshold, first_s), play)


def test_it_is_routed_to_and_seen(tmp_path: Path) -> None:
    async def play(plane: DataPlane) -> None:
        answer = await plane.infer(ask(8, 1, variant="", slo=slo(60.0, 0.9), explain=True))
        assert answer.parameters["variant"] == "cas" and answer.parameters["slo_met"] is True
        assert answer.parameters["accuracy_low"] == 0.93
        known = {
            c["variant"]: c for c in json.loads(str(answer.parameters["explain"]))["candidates"]
        }
        assert (known["cas"]["first"], known["cas"]["second"]) == ("low", "ref")
        assert known["cas"]["expected_escalation"] == 0.25 and "first" not in known["ref"]
        only = await plane.infer(ask(8, 1, outputs=(OutputAsk("best"),)))
        assert list(only.outputs) == ["best"]
        page = Page(plane, "1", lambda: {"cpu": "box"}).scrape().decode()
        label = '{model="staged",variant="cas",version="1"}'
        assert f"farebox_cascade_rows_total{label} 16.0" in page
        went_on = 2 * int(answer.parameters["escalated_rows"])
        assert 0 < went_on < 16
        assert f"farebox_cascade_escalated_rows_total{label} {went_on}.0" in page
        assert f"farebox_cascade_expected_escalation_ratio{label} 0.25" in page
        assert 'farebox_requests_total{model="staged",outcome="ok",target="cpu",' in page
        assert [str(replica.key) for replica, _ in plane.replicas()] == [
            "staged/1/ref",
            "staged/1/low",
        ]

    drive(staged.shelve(tmp_path / "r", 4.5), play)


@pytest.fixture
def toy(tmp_path: Path) -> Store:
    """Null variants answer zeros, so that every row of the cascade goes on."""
    store = shelve(tmp_path / "r", variant("ref", 0.01, 0.95), variant("low", 0.002, 0.8))
    shelve_cascade(store, "cas", "low", "ref")
    return store


def now(rows: int = 1, **more: Any) -> InferRequest:
    return request(rows, **{"received_s": time.monotonic(), "variant": "cas", **more})


def test_the_time_of_both_runs_is_no_overhead_of_the_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = shelve(tmp_path / "r", variant("ref", 0.00002), variant("low", 0.00001))
    shelve_cascade(store, "cas", "low", "ref")
    took, run, seen = iter([1.0, 2.0]), batcher.run, []
    monkeypatch.setattr(batcher, "run", lambda work: replace(run(work), wall_s=next(took)))

    async def play(plane: DataPlane) -> None:
        monkeypatch.setattr(plane, "_observe", lambda _, served: seen.append(served.wall_s))
        assert (await plane.infer(now(2))).parameters["escalated_rows"] == 2
        assert seen == [3.0]

    drive(store, play)


def test_a_caller_may_leave_while_it_waits_for_the_second_stage(toy: Store) -> None:
    async def play(plane: DataPlane) -> None:
        let = gate(plane, "ref")
        assert plane.loaded is not None
        plane.loaded.replicas[variant("ref").key][0].slots = 1
        first = asyncio.create_task(plane.infer(now(2)))
        await asyncio.to_thread(let.entered.acquire)  # its second stage runs
        second = asyncio.create_task(plane.infer(now(3)))
        await until(lambda: len(plane.scheduler.pool.busy) == 1 and not _runs(plane, "low"))
        second.cancel()
        await asyncio.wait([second])
        assert second.cancelled() and plane.scheduler.admission.in_flight == 1
        let.opened.set()
        assert (await first).parameters["escalated_rows"] == 2
        assert let.rows == [2], "nobody computed for a caller that left"

    drive(toy, play)


def test_a_caller_may_leave_while_its_first_stage_runs(toy: Store) -> None:
    async def play(plane: DataPlane) -> None:
        low, ref = gate(plane, "low"), gate(plane, "ref")
        ref.opened.set()
        stays, leaves = (asyncio.create_task(plane.infer(now(rows))) for rows in (2, 3))
        await asyncio.to_thread(low.entered.acquire)
        assert low.rows == [5], "both are in one batch"
        leaves.cancel()
        await asyncio.wait([leaves])
        low.opened.set()
        answer = await asyncio.wait_for(stays, 10)
        assert answer.parameters["escalated_rows"] == 2 and ref.rows == [2]

    drive(toy, play)


def _runs(plane: DataPlane, name: str) -> bool:
    return any(b.lane.key.variant == name for b in plane.scheduler.pool.running.values())


def test_a_deadline_ends_it_in_its_second_stage(toy: Store) -> None:
    async def play(plane: DataPlane) -> None:
        let = gate(plane, "ref")
        each = now(deadline_s=time.monotonic() + 0.15, slo=slo(5.0))
        with pytest.raises(Expired, match="no answer within"):
            await plane.infer(each)
        assert plane.scheduler.admission.in_flight == 1, "its second stage still runs"
        let.opened.set()
        await until(lambda: plane.scheduler.admission.in_flight == 0)
        assert plane.scheduler.tally.slos == {("latency", False): 1}

    drive(toy, play)


@pytest.mark.parametrize("stage", ["low", "ref"])
def test_a_stage_that_fails_fails_the_request_alone(toy: Store, stage: str) -> None:
    async def play(plane: DataPlane) -> None:
        let = gate(plane, stage)
        let.opened.set()

        def refuse(*given: object) -> object:
            raise BadInput("too long")

        let.run = refuse  # type: ignore[assignment,method-assign]
        with pytest.raises(BadInput, match="too long"):
            await plane.infer(now())
        other = {"low": "ref", "ref": "low"}[stage]
        assert (await plane.infer(now(variant=other))).parameters["variant"] == other

    drive(toy, play)


def test_stages_that_do_not_fit_together_are_an_error_and_not_a_hang(toy: Store) -> None:
    async def play(plane: DataPlane) -> None:
        let = gate(plane, "ref")
        let.opened.set()
        let.run = lambda *given: ({"y": np.zeros((1, 7), np.float32)}, 1)  # type: ignore[method-assign]
        with pytest.raises(BadInput, match="in different forms"):
            await plane.infer(now())
        let.run = lambda *given: ({"y": np.zeros((1,), np.float32)}, 1)  # type: ignore[method-assign]
        with pytest.raises(BadInput):
            await plane.infer(now())

    drive(toy, play)


def test_a_reload_between_the_stages_finishes_on_what_it_began_with(toy: Store) -> None:
    async def play(plane: DataPlane) -> None:
        low, ref = gate(plane, "low"), gate(plane, "ref")
        running = asyncio.create_task(plane.infer(now(2)))
        await asyncio.to_thread(low.entered.acquire)
        shelve(toy.root, variant("ref", 0.01, 0.95), times={"ref": {"fill": 3.0}})
        plane.adopt(load(toy, plane.loaded))
        assert plane.loaded is not None
        (problem,) = plane.loaded.problems
        assert "toy/1/cas: its stage 'ref' is another artifact" in problem
        assert not ref.is_closed, "a second stage may still come"
        low.opened.set()
        ref.opened.set()
        answer = await running
        assert answer.parameters["variant"] == "cas" and not answer.outputs["y"].any()
        await until(lambda: ref.is_closed)
        assert not low.is_closed

    drive(toy, play)


def served(store: Store, **settings: Any) -> tuple[list[str], list[str]]:
    found = load(store, **settings)
    return sorted(o.key.variant for o in found.catalog.offers()), found.problems


def test_it_is_left_out_with_a_sentence_where_a_stage_is_not_served(toy: Store) -> None:
    assert served(toy) == (["cas", "low", "ref"], [])
    (toy.folder(variant("low").key) / "r-null.json").write_text("{ }")
    names, problems = served(toy)
    assert names == ["ref"] and len(problems) == 2
    assert problems[1] == "toy/1/cas is not served, since its stage 'low' is not"
    toy.remove("toy", "1", "low")
    names, (problem,) = served(toy)
    assert names == ["ref"] and "its stage 'low' is not there" in problem


def test_it_takes_no_memory_and_goes_with_what_the_cap_leaves_out(toy: Store) -> None:
    assert served(toy, memory_cap_bytes=2000) == (["cas", "low", "ref"], [])
    assert served(toy, memory_cap_bytes=1000) == (["ref"], []), "as set, hence no problem"
    assert load(toy, memory_cap_bytes=2000).capped == []
    capped = load(toy, memory_cap_bytes=1000).capped
    assert [str(key) for key in capped] == ["toy/1/low", "toy/1/cas"]


def test_an_unreadable_cascade_goes_on_as_it_was(toy: Store) -> None:
    before = load(toy)
    folder = toy.folder(variant("cas").key)
    (folder / "variant.json").write_text("{")
    after = load(toy, before)
    assert "cas" in {o.key.variant for o in after.catalog.offers()} and len(after.problems) == 1
    assert served(toy)[0] == ["low", "ref"]


def test_a_cascade_whose_artifact_rots_goes_on_as_it_was(toy: Store) -> None:
    before = load(toy)
    (path,) = toy.folder(variant("cas").key).glob("*-cascade.json")
    path.write_text("{")
    after = load(toy, before)
    assert "cas" in {o.key.variant for o in after.catalog.offers()}
    assert served(toy)[0] == ["low", "ref"]


def test_estimated_cascades_are_reached_by_pin_only(tmp_path: Path) -> None:
    store = shelve(tmp_path / "r", variant("ref"), variant("low"))
    shelve_cascade(store, "cas", "low", "ref", variant("cas", source="estimated"))
    (offer,) = (o for o in load(store).catalog.offers() if o.cascade)
    assert not offer.is_routable and offer.cascade == cascade_of(store)


def cascade_of(store: Store) -> Any:
    from model_repo.cascades import read

    found = read(store, store.variant(variant("cas").key))
    assert (found.first, found.threshold) == ("low", cascade("low", "ref").threshold)
    return found
