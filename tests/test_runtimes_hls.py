"""An HLS project's C++ answers as its numbers say, to the last bit, and is compiled but once."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import circuits
import numpy as np
import pytest

from compilers.fpga import hls as projects
from compilers.fpga.fixed import FixedModel
from compilers.targets import fpga
from model_repo import hls, native, runtime
from model_repo.errors import BadInput, Corrupt, Expired, MissingDevice
from model_repo.runtimes import hls_emulated
from model_repo.runtimes.hls_emulated import HlsSession

pytest.importorskip("hls4ml", reason="needs farebox[fpga]")

ROWS = np.random.default_rng(0).random((200, 1, 6, 6), np.float32)


@pytest.fixture(scope="module")
def zipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small project; what is built is kept in a folder of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("a cache")))
        path = tmp_path_factory.mktemp("project") / "project.zip"
        projects.write(circuits.drawn(), fpga.Options(hls=True), path)
        yield path


@pytest.fixture(scope="module")
def session(zipped: Path) -> HlsSession:
    return hls_emulated.open_session(zipped, circuits.SIGNATURE)


@pytest.fixture
def model() -> FixedModel:
    return circuits.drawn()


@pytest.mark.parametrize("size", [1, 3, 200])
def test_it_answers_as_its_numbers_say_to_the_last_bit(
    session: HlsSession, model: FixedModel, size: int
) -> None:
    given = {"image": ROWS[:size]}
    outputs, device_ns = session.run(given)
    assert outputs.keys() == {"scores"} and outputs["scores"].dtype == np.float32
    assert np.array_equal(outputs["scores"], model.run(given))
    assert device_ns > 0


def test_values_beyond_the_format_saturate(session: HlsSession, model: FixedModel) -> None:
    given = {"image": np.array([-5, 0.49, 7], np.float32)[:, None, None, None] + 0 * ROWS[:3]}
    assert np.array_equal(session.run(given)[0]["scores"], model.run(given))


def test_threads_may_run_it_at_once(session: HlsSession, model: FixedModel) -> None:
    wanted = model.run({"image": ROWS})
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: session.run({"image": ROWS})[0]["scores"], range(8)))
    assert all(np.array_equal(answer, wanted) for answer in answers)


def test_two_projects_in_one_process_stay_apart(
    session: HlsSession, model: FixedModel, tmp_path: Path
) -> None:
    other, path = circuits.drawn(1), tmp_path / "project.zip"
    projects.write(other, fpga.Options(hls=True), path)
    second = hls_emulated.open_session(path, circuits.SIGNATURE)
    given = {"image": ROWS}
    for each, wanted in ((second, other), (session, model), (second, other)):
        assert np.array_equal(each.run(given)[0]["scores"], wanted.run(given))
    assert not np.array_equal(other.run(given), model.run(given))


def test_it_is_compiled_once_even_when_two_open_it_at_once(
    zipped: Path, model: FixedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with ThreadPoolExecutor(2) as pool:
        opened = list(
            pool.map(lambda _: hls_emulated.open_session(zipped, circuits.SIGNATURE), "12")
        )
    monkeypatch.setattr(native, "call", None)  # nothing may be compiled from here on
    opened.append(hls_emulated.open_session(zipped, circuits.SIGNATURE))
    for each in opened:
        answers = each.run({"image": ROWS[:3]})[0]["scores"]
        assert np.array_equal(answers, model.run({"image": ROWS[:3]}))
    (kept,) = (tmp_path / "farebox" / "circuits").iterdir()
    assert kept.suffix == ".hls"


def test_what_was_tidied_up_is_compiled_again(
    zipped: Path, model: FixedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for lost in ("weights/*.txt", "*.so"):
        session = hls_emulated.open_session(zipped, circuits.SIGNATURE)
        given = {"image": ROWS[:3]}
        assert np.array_equal(session.run(given)[0]["scores"], model.run(given))
        (kept,) = (tmp_path / "farebox" / "circuits").iterdir()
        next(kept.glob(lost)).unlink()
    hls_emulated.open_session(zipped, circuits.SIGNATURE)


def test_wrong_inputs_are_refused_with_what_it_takes(session: HlsSession) -> None:
    told = r"takes 'image' with rows of \[1, 6, 6\]"
    for given in ({"picture": ROWS}, {"image": ROWS[:, 0]}, {}):
        with pytest.raises(BadInput, match=told):
            session.run(given)
    with pytest.raises(BadInput, match="'image' has NaN or an infinity in row 0"):
        session.run({"image": ROWS * np.nan})


def test_a_run_ends_at_its_limit(session: HlsSession) -> None:
    with pytest.raises(Expired, match="longer than 1e-09 s"):
        session.run({"image": ROWS}, limit_s=1e-9)


def test_a_file_that_is_no_project_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "project.zip"
    path.write_bytes(b"no zip")
    with pytest.raises(Corrupt, match="no HLS project"):
        hls_emulated.open_session(path, circuits.SIGNATURE)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(hls.FACTS, "{}")
    with pytest.raises(Corrupt):
        hls_emulated.open_session(path, circuits.SIGNATURE)


def test_a_project_that_does_not_compile_says_why(
    zipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    broken = tmp_path / "project.zip"
    with zipfile.ZipFile(zipped) as file, zipfile.ZipFile(broken, "w") as copy:
        for name in file.namelist():
            copy.writestr(name, b"nosuch" if name.endswith("network.cpp") else file.read(name))
    with pytest.raises(BadInput, match=r"C\+\+ compiler could not build .*nosuch"):
        hls_emulated.open_session(broken, circuits.SIGNATURE)
    assert list((tmp_path / "farebox" / "circuits").iterdir()) == []


def test_it_needs_no_hls4ml_but_a_compiler(zipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "hls4ml", None)
    assert runtime.load("hls_emulated") is hls_emulated
    hls_emulated.check()
    assert hls_emulated.device() == "cpu"
    hls_emulated.open_session(zipped, circuits.SIGNATURE)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(MissingDevice, match=r"needs a C\+\+ compiler.*Debian package g\+\+"):
        hls_emulated.check()
