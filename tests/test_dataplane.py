"""One path for every protocol: check, route, queue, wait, answer, and count it all."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from builders import TOY, gate, load, request, serving, shelve, slo, variant
from msgspec.structs import replace

from gateway.core.request import InferRequest, InferResponse, OutputAsk
from gateway.dataplane import DataPlane
from model_repo.errors import BadInput, Expired, FareboxError, Infeasible, NotFound, Unavailable
from model_repo.records import TensorSpec
from model_repo.store import Store

WHOLE = [variant("ref", 0.01, 0.95), variant("low", 0.001, 0.8)]


def now(rows: int = 1, **more: object) -> InferRequest:
    return request(rows, received_s=time.monotonic(), **more)


def drive(store: Store, play: Callable[[DataPlane], Awaitable[None]], **settings: object) -> None:
    async def main() -> None:
        async with serving(store, **settings) as plane:
            await play(plane)

    asyncio.run(main())


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0.001)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return shelve(tmp_path / "r", *WHOLE, times={"low": {"fill": 1.0}, "ref": {"fill": 2.0}})


def test_a_request_is_served_by_the_cheapest_and_told_the_facts(store: Store) -> None:
    async def play(plane: DataPlane) -> None:
        answer = await plane.infer(now(3, id="7"))
        assert (answer.model, answer.version, answer.outputs["y"].tolist()) == (
            "toy", "1", [[1.0, 1.0]] * 3,
        )  # fmt: skip
        assert answer.parameters["variant"] == "low" and answer.parameters["slo_met"] is True
        assert answer.parameters["accuracy_low"] == 0.8
        assert set(answer.parameters) == {
            "variant", "cost_usd", "accuracy_low", "forecast_latency_ms", "slo_met",
        }  # fmt: skip
        assert plane.scheduler.admission.in_flight == 0

    drive(store, play)


def test_slo_pin_and_refusal(store: Store) -> None:
    async def play(plane: DataPlane) -> None:
        accurate = await plane.infer(now(slo=slo(accuracy=0.9)))
        pinned = await plane.infer(now(variant="ref"))
        assert accurate.parameters["variant"] == pinned.parameters["variant"] == "ref"
        for bounds in (slo(accuracy=0.99), slo(1e-6)):
            with pytest.raises(Infeasible):
                await plane.infer(now(slo=bounds))
        for wrong in ({"variant": "none"}, {"model": "none"}, {"version": "9"}):
            with pytest.raises(NotFound):
                await plane.infer(now(**wrong))
        assert plane.scheduler.admission.in_flight == 0

    drive(store, play)


def test_explain_shows_every_candidate_and_refusal(store: Store) -> None:
    async def play(plane: DataPlane) -> None:
        answer = await plane.infer(now(slo=slo(5.0, 0.9), explain=True))
        text = json.loads(str(answer.parameters["explain"]))
        assert (text["policy"], text["chosen"], text["met"]) == ("cheapest", "ref", True)
        assert [c["variant"] for c in text["candidates"]] == ["ref", "low"]
        told = text["candidates"][0]
        assert told["forecast_latency_ms"] == pytest.approx(10.0)
        assert (told["queued"], told["batch"], told["accuracy_low"]) == (0, 1, 0.95)
        assert list(text["refused"]) == ["low"] and "accuracy: " in text["refused"]["low"]
        assert 0 < text["slack_ms"] < 5000
        free = await plane.infer(now(explain=True))
        assert json.loads(str(free.parameters["explain"]))["slack_ms"] is None

    drive(store, play)


def test_outputs_come_as_asked(tmp_path: Path) -> None:
    model = replace(TOY, outputs=(*TOY.outputs, TensorSpec("z", "INT64", (-1, 1))))
    store = shelve(tmp_path / "r", variant("ref", model=model), model=model)

    async def play(plane: DataPlane) -> None:
        asked = (OutputAsk("z"), OutputAsk("y"))
        assert list((await plane.infer(now(outputs=asked))).outputs) == ["z", "y"]
        assert list((await plane.infer(now(outputs=asked[:1]))).outputs) == ["z"]
        assert list((await plane.infer(now())).outputs) == ["y", "z"]

    drive(store, play)


def test_no_rows_are_answered_without_a_run(store: Store) -> None:
    async def play(plane: DataPlane) -> None:
        answer = await plane.infer(now(0))
        assert answer.outputs["y"].shape == (0, 2) and answer.parameters["cost_usd"] == 0.0
        assert plane.scheduler.books["cpu"].attributed_ns == 0

    drive(store, play)


def test_requests_that_wait_together_run_together(store: Store) -> None:
    async def play(plane: DataPlane) -> None:
        let = gate(plane)
        tasks = [asyncio.create_task(plane.infer(now(rows, variant="ref"))) for rows in (1, 2, 3)]
        await asyncio.to_thread(let.entered.acquire)
        let.opened.set()
        answers = await asyncio.gather(*tasks)
        assert let.rows == [6]
        assert [len(answer.outputs["y"]) for answer in answers] == [1, 2, 3]
        costs = [float(answer.parameters["cost_usd"]) for answer in answers]
        assert costs == [pytest.approx(1e-9), pytest.approx(2e-9), pytest.approx(3e-9)]

    drive(store, play)


def test_a_deadline_ends_a_request_that_runs(store: Store) -> None:
    async def play(plane: DataPlane) -> None:
        let = gate(plane)
        each = now(variant="ref", slo=slo(5.0))
        each = replace(each, deadline_s=each.received_s + 0.1)
        with pytest.raises(Expired, match=r"100\.000 ms"):
            await plane.infer(each)
        assert plane.scheduler.admission.in_flight == 1, "its batch still runs"
        let.opened.set()
        await until(lambda: plane.scheduler.admission.in_flight == 0)
        assert plane.scheduler.tally.slos == {("latency", False): 1}
        assert plane.scheduler.books["cpu"].attributed_ns == 1000

    drive(store, play)


def test_a_deadline_ends_a_request_that_waits(store: Store) -> None:
    async def play(plane: DataPlane) -> None:
        let = gate(plane)
        first = asyncio.create_task(plane.infer(now(variant="ref")))
        await asyncio.to_thread(let.entered.acquire)
        each = now(variant="ref")
        with pytest.raises(Expired):
            await plane.infer(replace(each, deadline_s=each.received_s + 0.1))
        let.opened.set()
        await first
        assert let.rows == [1], "it never ran"
        assert plane.scheduler.admission.in_flight == 0

    drive(store, play, devices=1)


def test_a_caller_that_leaves_the_queue_is_not_run(store: Store) -> None:
    async def play(plane: DataPlane) -> None:
        let = gate(plane)
        first = asyncio.create_task(plane.infer(now(variant="ref")))
        await asyncio.to_thread(let.entered.acquire)
        second = asyncio.create_task(plane.infer(now(variant="ref")))
        await until(lambda: plane.scheduler.admission.in_flight == 2)
        second.cancel()
        await asyncio.wait([second])
        assert second.cancelled() and plane.scheduler.admission.in_flight == 1
        let.opened.set()
        await first
        assert let.rows == [1]
        outcomes = {key[-1]: n for key, n in plane.scheduler.tally.requests.items()}
        assert outcomes == {"ok": 1, "cancelled": 1}

    drive(store, play, devices=1)


def test_the_bound_on_requests_in_flight(store: Store) -> None:
    async def play(plane: DataPlane) -> None:
        let = gate(plane)
        first = asyncio.create_task(plane.infer(now(variant="ref")))
        await asyncio.to_thread(let.entered.acquire)
        with pytest.raises(Unavailable, match="max_in_flight"):
            await plane.infer(now())
        let.opened.set()
        await first
        assert (await plane.infer(now())).parameters["variant"] == "low"

    drive(store, play, max_in_flight=1)


def test_report_only_serves_the_reference_and_names_the_route(store: Store) -> None:
    async def play(plane: DataPlane) -> None:
        answer = await plane.infer(now())
        assert answer.outputs["y"].tolist() == [[2.0, 2.0]]
        assert answer.parameters["variant"] == "ref"
        assert answer.parameters["routed_variant"] == "low"
        impossible = await plane.infer(now(slo=slo(1e-9, 1.0)))
        assert impossible.parameters["slo_met"] is False, "answered all the same"

    drive(store, play, report_only=True)


def test_best_effort_answers_what_it_cannot_promise(store: Store) -> None:
    async def play(plane: DataPlane) -> None:
        answer = await plane.infer(now(slo=slo(1e-9, 0.9)))
        assert answer.parameters["variant"] == "ref" and answer.parameters["slo_met"] is False

    drive(store, play, on_infeasible="best_effort")


def test_one_slow_moment_does_not_refuse_tight_bounds_for_ever(store: Store) -> None:
    async def play(plane: DataPlane) -> None:
        for _ in range(4):
            plane.scheduler.overhead.observe(2.0)  # a pause of the whole process

        async def served() -> bool:
            try:
                await plane.infer(now(slo=slo(1.0)))
            except Unavailable:
                return False
            return True

        assert not await served()
        tries = [await served() for _ in range(100)]
        assert any(tries), "nobody else asks, so it must forget"

    drive(store, play)


@pytest.mark.parametrize(
    ("each", "error", "outcome"),
    [
        (request(model="none"), NotFound, ("", "", "not_found")),
        (request(outputs=(OutputAsk("q"),)), BadInput, ("toy", "1", "invalid_argument")),
        (request(slo=slo(accuracy=1.0)), Infeasible, ("toy", "1", "failed_precondition")),
    ],
)
def test_every_failure_is_counted_and_no_name_a_caller_made_up_becomes_a_label(
    store: Store, each: InferRequest, error: type[FareboxError], outcome: tuple[str, str, str]
) -> None:
    async def play(plane: DataPlane) -> None:
        with pytest.raises(error):
            await plane.infer(each)
        (key,) = plane.scheduler.tally.requests
        assert (key[0], key[1], key[-1]) == outcome

    drive(store, play)


def test_a_reload_serves_what_is_new_and_finishes_what_is_old(store: Store) -> None:
    async def play(plane: DataPlane) -> None:
        let = gate(plane)
        running = asyncio.create_task(plane.infer(now(variant="ref")))
        await asyncio.to_thread(let.entered.acquire)
        waiting = asyncio.create_task(plane.infer(now(variant="ref")))
        await until(lambda: plane.scheduler.admission.in_flight == 2)
        shelve(store.root, variant("ref", 0.01), times={"ref": {"fill": 3.0}})
        plane.adopt(load(store, plane.loaded))
        assert not let.is_closed, "its batch still runs"
        let.opened.set()
        await asyncio.gather(running, waiting)
        assert let.rows == [1, 1]
        answer: InferResponse = await plane.infer(now(variant="ref"))
        assert np.all(answer.outputs["y"] == 3.0)
        await until(lambda: let.is_closed)

    drive(store, play, devices=1)


def test_a_session_that_went_away_is_closed_at_the_reload_when_nothing_waits(store: Store) -> None:
    async def play(plane: DataPlane) -> None:
        let = gate(plane, "low")
        store.remove("toy", "1", "low")
        plane.adopt(load(store, plane.loaded))
        assert let.is_closed
        assert [str(r.key) for r, _ in plane.replicas()] == ["toy/1/ref"]

    drive(store, play)


def test_an_empty_shelf_is_not_ready(tmp_path: Path) -> None:
    async def play(plane: DataPlane) -> None:
        assert not plane.is_ready
        with pytest.raises(NotFound):
            await plane.infer(now())

    drive(Store(tmp_path), play)
