"""A profile times what serving runs, and repeats itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx_files import linear

from compilers.datasets import Data
from compilers.profiling import calls, host, measure, timing
from compilers.profiling.scoring import REFERENCE_SCORE, Score
from model_repo.errors import Corrupt, Expired
from model_repo.records import Model, Profile, TensorSpec
from model_repo.runtime import Session

MODEL = Model(
    "m",
    "1",
    (TensorSpec("x", "FP32", (-1, 4)),),
    (TensorSpec("y", "FP32", (-1, 3)),),
    True,
    "agreement",
    "y",
)
DATA = Data({"x": np.random.default_rng(0).random((50, 4), np.float32)})


def reference(_: Session) -> Score:
    return REFERENCE_SCORE


def null(folder: Path, **times: float) -> Path:
    path = folder / "times.json"
    path.write_text(json.dumps(times))
    return path


def profile(path: Path, form: str, model: Model = MODEL, limit_s: float | None = None) -> Profile:
    return measure.profile(
        path, form, model, DATA, score=reference, batch_sizes=[4, 1, 4], seed=3, limit_s=limit_s
    )


def test_a_profile_says_what_was_measured_where_and_when(tmp_path: Path) -> None:
    told: list[str] = []
    seen = measure.profile(
        linear(tmp_path / "m.onnx"),
        "onnx_graph",
        MODEL,
        DATA,
        score=reference,
        batch_sizes=[1, 8],
        seed=3,
        progress=told.append,
    )
    assert [point.batch_size for point in seen.latency] == [1, 8]
    for point in seen.latency:
        assert 0 < point.p50_s <= point.p95_s <= point.p99_s
        assert 0 < point.device_s <= point.p99_s
        assert point.runs >= 3 * timing.FEWEST_ROUNDS
        assert 0 < point.device_low_s <= point.device_s <= point.device_high_s
    assert (seen.accuracy, seen.accuracy_samples, seen.source) == (1.0, 0, "measured")
    assert seen.load_s > 0 and seen.memory_bytes >= (tmp_path / "m.onnx").stat().st_size
    assert "cores" in seen.host and seen.threads == 1 and seen.seed == 3
    assert {"onnxruntime", "numpy", "farebox"} <= set(seen.versions)
    assert seen.cpu_flags == host.cpu_flags() and seen.accuracy_origin is None
    assert seen.measured_at.tzinfo is not None
    assert told[0] == "accuracy" and len(told) > 2


def test_the_times_of_a_known_model_come_back(tmp_path: Path) -> None:
    seen = profile(null(tmp_path, device_s=0.002, device_s_per_item=0.001), "null")
    assert [point.batch_size for point in seen.latency] == [1, 4]
    for point in seen.latency:
        assert point.device_s == pytest.approx(0.002 + 0.001 * point.batch_size)
        assert point.p50_s >= point.device_s


def test_a_model_that_does_not_batch_is_timed_one_call_at_a_time(tmp_path: Path) -> None:
    fixed = Model(
        "m", "1", (TensorSpec("x", "FP32", (2, 4)),), (TensorSpec("y", "FP32", (2, 3)),), False
    )
    seen = profile(linear(tmp_path / "m.onnx", rows=2), "onnx_graph", fixed)
    assert [point.batch_size for point in seen.latency] == [1]


def test_the_limit_ends_a_run(tmp_path: Path) -> None:
    with pytest.raises(Expired):
        profile(null(tmp_path, device_s=5.0), "null", limit_s=0.05)


def test_an_artifact_that_cannot_be_read_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"not a model")
    with pytest.raises(Corrupt):
        profile(tmp_path / "m.onnx", "onnx_graph")


def test_a_run_comes_after_what_a_server_does_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(measure.time, "sleep", waited.append)
    seen = profile(linear(tmp_path / "m.onnx"), "onnx_graph")
    warm_ups = timing.WARM_UPS * len(seen.latency) + 1
    assert len(waited) == sum(point.runs for point in seen.latency) + warm_ups
    assert set(waited) == {measure.PAUSE_S}


def test_calls_of_one_row_or_many_answer_alike(tmp_path: Path) -> None:
    from model_repo import runtime

    session = runtime.load("onnx_graph").open_session(linear(tmp_path / "m.onnx"), MODEL)
    joined = calls.compute(session, MODEL, DATA)["y"]
    alone = np.concatenate(
        [calls.compute(session, MODEL, DATA.take(slice(i, i + 1)))["y"] for i in range(len(DATA))]
    )
    assert joined == pytest.approx(alone, abs=1e-6)
