"""A variant that other hardware runs here: pinned or let in, charged for what ran, and told so."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from builders import load, request, serving, shelve, variant
from msgspec.structs import replace

from gateway import welcome
from gateway.bookkeeping import Bookkeeping
from gateway.core.request import InferRequest
from gateway.dataplane import DataPlane
from gateway.metrics import Page
from model_repo.errors import MissingDevice, NotFound
from model_repo.runtimes import null
from model_repo.store import Store

CPU_USD, TPU_USD = 0.001, 0.01
TPU = replace(variant("tpu", 0.0001, 0.9, source="estimated"), target="tpu")


def now(**more: object) -> InferRequest:
    return request(1, received_s=time.monotonic(), **more)


def drive(store: Store, play: Callable[[DataPlane], Awaitable[None]], **settings: object) -> None:
    async def main() -> None:
        async with serving(store, **settings) as plane:
            await play(plane)

    asyncio.run(main())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return shelve(
        tmp_path / "r", variant("ref", 0.01, 0.95), TPU, times={"tpu": {"device_s": 0.002}}
    )


def test_it_is_pinned_and_charged_for_what_ran_here(store: Store) -> None:
    async def play(plane: DataPlane) -> None:
        told = (await plane.infer(now(variant="tpu"))).parameters
        assert (told["variant"], told["profile_source"], told["runs_on"]) == (
            "tpu",
            "estimated",
            "cpu",
        )
        assert told["cost_usd"] == pytest.approx(0.002 * CPU_USD)
        assert told["target_cost_usd"] == pytest.approx(0.0001 * TPU_USD)
        assert plane.scheduler.books["cpu"].attributed_ns == 2_000_000

    drive(store, play)


def test_it_is_not_routed_to_unless_that_is_allowed(store: Store) -> None:
    async def barred(plane: DataPlane) -> None:
        told = (await plane.infer(now(explain=True))).parameters
        assert told["variant"] == "ref" and "profile_source" not in told
        explained = json.loads(str(told["explain"]))
        assert explained["refused"] == {
            "tpu": "source: its profile is estimated, and allow_estimated is not set"
        }
        assert [c["source"] for c in explained["candidates"]] == ["measured"]

    async def allowed(plane: DataPlane) -> None:
        told = (await plane.infer(now(explain=True))).parameters
        assert (told["variant"], told["runs_on"]) == ("tpu", "cpu")
        candidates = json.loads(str(told["explain"]))["candidates"]
        assert {c["variant"]: c.get("runs_on") for c in candidates} == {"ref": None, "tpu": "cpu"}
        assert {c["source"] for c in candidates} == {"measured", "estimated"}

    drive(store, barred)
    drive(store, allowed, allow_estimated=True)


def test_it_never_runs_on_the_loop_however_short_its_profile_is(store: Store) -> None:
    tpu = load(store).catalog.find("toy").offer("tpu")
    assert tpu.stands_in and tpu.curve.service(1) < 0.00025


def test_the_welcome_shows_how_to_pin_it(store: Store) -> None:
    lines = welcome.lines(load(store).catalog.find("toy"), "host", 1, 2, 3)
    assert sum("-H 'x-variant: tpu'" in line for line in lines) == 1
    assert not any("x-variant: ref" in line for line in lines)


def test_metrics_name_where_it_runs_and_whose_its_figures_are(store: Store) -> None:
    async def play(plane: DataPlane) -> None:
        page = Page(plane, "1", lambda: {"cpu": "box"}).scrape().decode()
        assert (
            'farebox_variant_info{model="toy",runs_on="cpu",source="estimated",target="tpu",'
            'variant="tpu",version="1"} 1.0'
        ) in page

    drive(store, play)


def test_what_runs_on_its_own_hardware_has_a_ledger_and_a_price_of_its_own(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Null times stand for a chip that is there; the reference stays a cost of CPUs."""
    monkeypatch.setattr(
        "model_repo.runtime.device", lambda v: "tpu" if v.target == "tpu" else "cpu"
    )

    async def play(plane: DataPlane) -> None:
        from builders import prices

        kept = Bookkeeping(prices(), 2)
        kept.books.ledgers["cpu"] = plane.scheduler.books["cpu"]
        plane.scheduler.books = kept.books
        kept.open({offer.device: "" for offer in plane.catalog.offers()})
        assert kept.instances() == {"cpu": "box", "tpu": "chip"}
        told = (await plane.infer(now(variant="tpu"))).parameters
        assert told["cost_usd"] == pytest.approx(0.002 * TPU_USD) and "runs_on" not in told
        (account,) = kept.books.accounts()
        usd = kept.books.dollars(account)
        assert usd.usage == usd.routed == pytest.approx(0.002 * TPU_USD)
        assert usd.reference == pytest.approx(0.01 * CPU_USD)
        assert kept.books["cpu"].attributed_ns == 0
        assert kept.books["tpu"].provisioned_ns(time.monotonic_ns()) > 0
        assert not kept.close_minute()

    drive(store, play)


def test_what_this_machine_cannot_serve_is_a_sentence_and_the_rest_is_served(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check() -> None:
        raise MissingDevice("serving it takes a chip, and there is none")

    assert not load(store).elsewhere
    monkeypatch.setattr(null, "check", check)
    monkeypatch.setattr(null, "device", lambda: "tpu")
    found = load(store)
    assert {k.variant for k in found.elsewhere} == {"ref", "tpu"} and not found.catalog.offers()
    assert found.problems == ["toy/1 is not served: it has no usable reference variant"]


def test_a_pin_to_what_is_elsewhere_says_why(store: Store) -> None:
    runtime_of_tpu = replace(TPU.artifact, format="tensorrt")
    (place := store.root / "toy" / "1" / "tpu" / "variant.json").write_text(
        place.read_text().replace('"null"', f'"{runtime_of_tpu.format}"')
    )

    async def play(plane: DataPlane) -> None:
        assert plane.loaded is not None and plane.loaded.problems == []
        with pytest.raises(NotFound, match=r"'tpu' of model 'toy' is not served here: .*GPU"):
            await plane.infer(now(variant="tpu"))
        assert (await plane.infer(now())).parameters["variant"] == "ref"

    drive(store, play)
