"""The loop's side of the scheduler: short batches inline, long ones in threads."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from builders import gate, request, serving, shelve, variant

from gateway.dataplane import DataPlane
from model_repo.errors import BadInput


def run_one(tmp_path: Path, alone_s: float) -> str:
    """The name of the thread a batch ran in."""
    store = shelve(tmp_path / "r", variant("ref", alone_s))
    seen: list[str] = []

    async def main() -> None:
        async with serving(store, inline_s=0.001) as plane:
            let = gate(plane)
            let.opened.set()
            run = let.run
            let.run = lambda *a: (seen.append(threading.current_thread().name), run(*a))[1]  # type: ignore[method-assign]
            await plane.infer(request(received_s=time.monotonic()))

    asyncio.run(main())
    return seen[0]


def test_a_short_batch_runs_on_the_loop_and_a_long_one_in_a_thread(tmp_path: Path) -> None:
    assert run_one(tmp_path / "a", 0.0005) == "MainThread"
    assert run_one(tmp_path / "b", 0.002).startswith("farebox-run-")


@pytest.mark.parametrize("alone_s", [0.00001, 0.01])
def test_an_error_of_the_runtime_reaches_its_caller_and_the_next_is_served(
    tmp_path: Path, alone_s: float
) -> None:
    store = shelve(tmp_path / "r", variant("ref", alone_s))

    async def play(plane: DataPlane) -> None:
        let = gate(plane)
        let.opened.set()
        run = let.run

        def refuse(*given: object) -> object:
            raise error

        let.run = refuse  # type: ignore[assignment,method-assign]
        for error in (BadInput("too long"), ValueError("a defect")):
            with pytest.raises(type(error), match=str(error)):
                await plane.infer(request(received_s=time.monotonic()))
        let.run = run  # type: ignore[method-assign]
        await plane.infer(request(received_s=time.monotonic()))
        assert plane.scheduler.admission.in_flight == 0 and plane.scheduler.pool.is_idle()

    async def main() -> None:
        async with serving(store) as plane:
            await play(plane)

    asyncio.run(main())


def test_many_at_once_are_all_answered(tmp_path: Path) -> None:
    store = shelve(tmp_path / "r", variant("ref", 0.00005), variant("low", 0.002))

    async def main() -> None:
        async with serving(store) as plane:
            names = ["ref", "low", ""]
            answers = await asyncio.gather(*(
                plane.infer(request(1 + i % 9, received_s=time.monotonic(), variant=names[i % 3]))
                for i in range(300)
            ))  # fmt: skip
            assert [len(a.outputs["y"]) for a in answers] == [1 + i % 9 for i in range(300)]
            assert plane.scheduler.admission.in_flight == 0 and plane.scheduler.pool.is_idle()

    asyncio.run(main())


def test_what_outlasts_its_profile_by_far_moves_to_a_thread_and_a_hiccup_does_not(
    tmp_path: Path,
) -> None:
    store = shelve(tmp_path / "r", variant("ref", 0.0005))
    seen: list[str] = []

    async def main() -> None:
        async with serving(store, inline_s=0.001) as plane:
            let = gate(plane)
            let.opened.set()
            run = let.run
            took = [1, 30_000_000, 1, 10_000_000_000, 1]  # ns: as forecast, 30 ms, 10 s

            def timed(*given: Any) -> Any:
                seen.append(threading.current_thread().name)
                return run(*given)[0], took[len(seen) - 1]

            let.run = timed  # type: ignore[method-assign]
            for _ in took:
                await plane.infer(request(received_s=time.monotonic()))

    asyncio.run(main())
    assert seen[:4] == ["MainThread"] * 4
    assert seen[4].startswith("farebox-run-")
