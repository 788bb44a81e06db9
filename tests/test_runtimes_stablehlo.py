"""StableHLO programs answer at any batch, beside torch, and refuse what they would cut off."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("jax", reason="the extra tpu is not installed")

from compilers.tpu import program
from model_repo import jax_loading, runtime
from model_repo.errors import BadInput, Corrupt, Expired, MissingExtra
from model_repo.jax_loading import load_jax
from model_repo.records import Model, TensorSpec
from model_repo.runtimes import stablehlo
from model_repo.runtimes.stablehlo import StablehloSession
from model_repo.tensors import DTYPES, Array

MODEL = Model(
    "m", "1", (TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", (-1, 3)),), True
)
WEIGHT = np.random.default_rng(0).random((4, 3), np.float32)
ROWS = np.random.default_rng(1).random((5, 4), np.float32)
CARRIED = sorted(DTYPES.keys() - {"BYTES", "FP64", "FP16"})


def linear(folder: Path) -> Path:
    path = folder / program.FILE
    program.write(lambda inputs: {"y": inputs["x"] @ WEIGHT}, MODEL, path)
    return path


def opened(folder: Path) -> StablehloSession:
    return stablehlo.open_session(linear(folder), MODEL)


def same(folder: Path, datatype: str) -> StablehloSession:
    """x [n, 2] -> y = x."""
    specs = (TensorSpec("x", datatype, (-1, 2)),), (TensorSpec("y", datatype, (-1, 2)),)
    model = Model("m", "1", *specs, True)
    program.write(lambda inputs: {"y": inputs["x"]}, model, folder / "same")
    return stablehlo.open_session(folder / "same", model)


def endless(folder: Path) -> StablehloSession:
    """x [n, 4], multiplied with itself as often as its first number says."""
    lax: Any = load_jax().lax

    def compute(inputs: Any) -> Any:
        x = inputs["x"]
        turns = x[0, 0].astype("int32")
        return {"y": lax.fori_loop(0, turns, lambda _, y: lax.sin(y), x)[:, :3]}

    program.write(compute, MODEL, folder / "loop")
    return stablehlo.open_session(folder / "loop", MODEL)


def test_answers_at_every_batch_and_says_what_it_cost(tmp_path: Path) -> None:
    session = opened(tmp_path)
    for size in (1, 3, 5):
        start = time.monotonic_ns()
        outputs, device_ns = session.run({"x": ROWS[:size]})
        assert outputs["y"] == pytest.approx(ROWS[:size] @ WEIGHT, abs=1e-6)
        assert outputs["y"].dtype == np.float32
        assert 0 < device_ns <= time.monotonic_ns() - start


def test_the_thread_that_asks_computes_so_that_its_time_is_device_time(tmp_path: Path) -> None:
    def compute(inputs: Any) -> Any:
        x = inputs["x"]
        for _ in range(20):
            x = x @ np.eye(2048, dtype=np.float32)
        return {"y": x}

    specs = (TensorSpec("x", "FP32", (-1, 2048)),), (TensorSpec("y", "FP32", (-1, 2048)),)
    model = Model("m", "1", *specs, True)
    program.write(compute, model, tmp_path / "wide")
    session = stablehlo.open_session(tmp_path / "wide", model)
    given = {"x": np.ones((256, 2048), np.float32)}  # large enough that copying takes a while
    session.run(given)
    spent = time.process_time_ns()
    _, device_ns = session.run(given)
    assert device_ns > 0.5 * (time.process_time_ns() - spent)


@pytest.mark.parametrize("datatype", CARRIED)
def test_carries_what_a_tpu_computes_with(datatype: str, tmp_path: Path) -> None:
    session = same(tmp_path, datatype)
    given = np.array([[0, 1], [1, 0], [1, 1]]).astype(DTYPES[datatype])
    answer = session.run({"x": given})[0]["y"]
    assert answer.dtype == given.dtype and (answer == given).all()
    assert session.run({"x": given[:0]})[0]["y"].shape == (0, 2)


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1])
def test_a_number_that_it_would_cut_off_is_refused(number: int, tmp_path: Path) -> None:
    session = same(tmp_path, "INT64")
    with pytest.raises(BadInput, match="'x' holds a number that takes more than 32 bits"):
        session.run({"x": np.array([[0, number]])})


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({"x": np.ones((2, 5), np.float32)}, r"'x' has the shape \[-1, 4\], and \[2, 5\] was"),
        ({"x": np.ones((2, 4))}, "'x' is FP32, and float64 was given"),
        ({"x": np.ones((2, 4, 1), np.float32)}, "has the shape"),
        ({}, r"it takes \['x'\], and \[\] were given"),
        ({"x": ROWS, "z": ROWS}, r"\['x', 'z'\] were given"),
    ],
)
def test_gives_its_reason_for_inputs_it_refuses_and_goes_on(
    inputs: dict[str, Array], reason: str, tmp_path: Path
) -> None:
    session = opened(tmp_path)
    for limit_s in (None, 60.0):
        with pytest.raises(BadInput, match=f"refused these inputs: .*{reason}"):
            session.run(inputs, limit_s)
    assert session.run({"x": ROWS})[0]["y"].shape == (5, 3)


def test_strings_are_refused_in_words(tmp_path: Path) -> None:
    specs = (TensorSpec("x", "BYTES", (-1, 2)),), (TensorSpec("y", "FP32", (-1, 2)),)
    with pytest.raises(BadInput, match="'x' holds strings, which StableHLO has none of"):
        stablehlo.open_session(tmp_path / "none", Model("m", "1", *specs, True))


@pytest.mark.parametrize("content", [b"", b"no program", bytes(200)])
def test_what_is_no_program_is_corrupt(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken"
    path.write_bytes(content)
    with pytest.raises(Corrupt, match="is not usable in jax"):
        stablehlo.open_session(path, MODEL)


def test_the_program_of_another_model_is_corrupt(tmp_path: Path) -> None:
    other = Model("m", "1", (TensorSpec("z", "FP32", (-1, 4)),), MODEL.outputs, True)
    with pytest.raises(
        Corrupt, match=r"takes \['x'\] and gives \['y'\].*compile the variant again"
    ):
        stablehlo.open_session(linear(tmp_path), other)


def test_a_run_that_takes_too_long_is_left_and_the_session_goes_on(tmp_path: Path) -> None:
    session = endless(tmp_path)
    quick = np.ones((2, 4), np.float32)
    assert session.run({"x": quick}, 60.0)[0]["y"].shape == (2, 3)
    long = quick.copy()
    long[0, 0] = 2e7
    with pytest.raises(Expired, match=r"took longer than 0\.05 s"):
        session.run({"x": long}, 0.05)
    assert session.run({"x": quick}, 60.0)[0]["y"] == pytest.approx(np.sin(quick[:, :3]))


def test_several_threads_may_ask_at_once(tmp_path: Path) -> None:
    session = opened(tmp_path)
    found: dict[int, Array] = {}

    def ask(place: int) -> None:
        found[place] = session.run({"x": ROWS * place})[0]["y"]

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for place, answer in found.items():
        assert answer == pytest.approx(ROWS * place @ WEIGHT, abs=1e-5)
    assert len(found) == 8


def test_it_says_where_it_computes_and_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stablehlo.device() == "cpu"
    assert runtime.load("stablehlo").COMPILES_SIZES
    monkeypatch.setattr(jax_loading, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"farebox\[tpu\]"):
        stablehlo.check()


def test_it_starts_beside_torch_without_a_word_and_leaves_the_environment_alone() -> None:
    code = (
        "import os, torch; before = dict(os.environ)\n"
        "from model_repo.runtimes import stablehlo\n"
        "assert 'jax' not in __import__('sys').modules\n"
        "assert stablehlo.device() == 'cpu' and dict(os.environ) == before\n"
        "assert torch.ones(2).sum() == 2"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
