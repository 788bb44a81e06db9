"""Both runtimes answer, charge device time, end at the limit and refuse in sentences."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from onnx_files import endless, linear, node, write

from model_repo import plugins, runtime
from model_repo.errors import BadInput, Corrupt, Expired, NotFound
from model_repo.records import Model, TensorSpec
from model_repo.runtime import Session
from model_repo.tensors import Array

MODEL = Model(
    "m", "1", (TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", (-1, 3)),), True
)
ROWS = {"x": np.random.default_rng(0).random((5, 4), np.float32)}


def null(folder: Path, model: Model = MODEL, **times: float) -> Session:
    (folder / "times.json").write_text(json.dumps(times))
    return runtime.load("null").open_session(folder / "times.json", model)


def onnx_session(path: Path, model: Model = MODEL) -> Session:
    return runtime.load("onnx_graph").open_session(path, model)


def test_every_runtime_keeps_the_contract() -> None:
    for name in plugins.names(runtime.PACKAGE):
        module = plugins.load(runtime.PACKAGE, name)
        assert callable(module.open_session) and callable(module.check)
    with pytest.raises(NotFound, match="choose one of"):
        runtime.load("unheard_of")


def test_null_answers_zeros_and_charges_its_times(tmp_path: Path) -> None:
    session = null(tmp_path, device_s=0.002, device_s_per_item=0.001, fill=0.5)
    outputs, device_ns = session.run(ROWS)
    assert outputs["y"].shape == (5, 3) and (outputs["y"] == 0.5).all()
    assert device_ns == pytest.approx(7_000_000)
    with pytest.raises(Expired):
        session.run(ROWS, 0.001)
    session.close()


@pytest.mark.parametrize("datatype", ["FP32", "INT64", "BOOL", "BYTES", "BF16"])
def test_null_answers_in_any_datatype(datatype: str, tmp_path: Path) -> None:
    model = Model("m", "1", MODEL.inputs, (TensorSpec("y", datatype, (-1, 2)),), True)
    assert null(tmp_path, model).run(ROWS)[0]["y"].shape == (5, 2)


def test_null_takes_a_scalar_where_the_model_does_not_batch(tmp_path: Path) -> None:
    specs = (TensorSpec("x", "FP32", ()),), (TensorSpec("y", "FP32", (2, -1)),)
    outputs, _ = null(tmp_path, Model("m", "1", *specs, False)).run({"x": np.array(1.0)})
    assert outputs["y"].shape == (2, 1)


def test_broken_artifacts_are_corrupt(tmp_path: Path) -> None:
    for name, form in (("t.json", "null"), ("m.onnx", "onnx_graph")):
        with pytest.raises(Corrupt):
            runtime.load(form).open_session(tmp_path / name, MODEL)
        (tmp_path / name).write_bytes(b"\x00junk")
        with pytest.raises(Corrupt, match=name):
            runtime.load(form).open_session(tmp_path / name, MODEL)


def test_onnx_charges_the_time_of_the_computing_thread(tmp_path: Path) -> None:
    session = onnx_session(linear(tmp_path / "m.onnx"))
    start = time.monotonic_ns()
    outputs, device_ns = session.run(ROWS)
    assert 0 < device_ns <= time.monotonic_ns() - start
    assert outputs["y"].sum(axis=1) == pytest.approx(np.ones(5), abs=1e-5)


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({"x": np.ones((2, 5), np.float32)}, "refused these inputs"),
        ({"x": np.ones((2, 4))}, "refused these inputs"),
        ({}, "refused these inputs"),
    ],
)
def test_onnx_gives_its_reason_for_inputs_it_refuses(
    inputs: dict[str, Array], reason: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    session = onnx_session(linear(tmp_path / "m.onnx"))
    with pytest.raises(BadInput, match=reason):
        session.run(inputs)
    assert capfd.readouterr().err == ""  # a caller's mistake does not fill the log


def test_an_endless_run_ends_at_its_limit_and_harms_no_other(tmp_path: Path) -> None:
    stuck = onnx_session(endless(tmp_path / "m.onnx"))
    sound = onnx_session(linear(tmp_path / "sound.onnx"))
    start = time.monotonic()
    errors: list[Exception] = []

    def run(limit_s: float) -> None:
        try:
            stuck.run(ROWS, limit_s)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(limit,)) for limit in (0.4, 0.2)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        sound.run(ROWS, 5.0)
    for thread in threads:
        thread.join()
    assert [type(error) for error in errors] == [Expired, Expired]
    assert "longer than 0.2 s" in str(errors[0])
    assert 0.35 < time.monotonic() - start < 5.0


def test_sessions_are_shared_by_threads(tmp_path: Path) -> None:
    session = onnx_session(linear(tmp_path / "m.onnx"))
    wanted = session.run(ROWS)[0]["y"]
    faults: list[object] = []

    def run() -> None:
        for _ in range(50):
            if not (session.run(ROWS)[0]["y"] == wanted).all():
                faults.append("differs")

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_bytes_are_text_to_onnx_and_anything_else_is_refused(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.onnx",
        [node("Identity", "x", "y")],
        [("x", TensorProto.STRING, ["n"])],
        [("y", TensorProto.STRING, ["n"])],
    )
    model = Model(
        "m", "1", (TensorSpec("x", "BYTES", (-1,)),), (TensorSpec("y", "BYTES", (-1,)),), True
    )
    session = onnx_session(path, model)
    given = np.array([b"plain", "ü".encode(), "str"], object)
    assert session.run({"x": given})[0]["y"].tolist() == ["plain", "ü", "str"]
    with pytest.raises(BadInput, match="'x' holds a string that is not UTF-8"):
        session.run({"x": np.array([b"\xff"], object)})


def test_bfloat16_need_not_be_contiguous_nor_own_its_memory(tmp_path: Path) -> None:
    from ml_dtypes import bfloat16

    path = write(
        tmp_path / "m.onnx",
        [node("Identity", "x", "y")],
        [("x", TensorProto.BFLOAT16, ["n", 2])],
        [("y", TensorProto.BFLOAT16, ["n", 2])],
    )
    specs = (TensorSpec("x", "BF16", (-1, 2)),), (TensorSpec("y", "BF16", (-1, 2)),)
    session = onnx_session(path, Model("m", "1", *specs, True))
    whole = np.arange(12, dtype=np.float32).astype(bfloat16).reshape(2, 6)
    for given in (
        whole[:, ::3],
        whole.reshape(6, 2),
        np.frombuffer(whole.tobytes(), bfloat16).reshape(6, 2),
    ):
        outputs, _ = session.run({"x": given})
        assert (outputs["y"] == given).all() and outputs["y"].dtype == bfloat16


def test_a_model_with_both_bfloat16_and_strings_is_refused_when_opened(tmp_path: Path) -> None:
    shapes = [("x", TensorProto.BFLOAT16, ["n", 2]), ("s", TensorProto.STRING, ["n"])]
    path = write(
        tmp_path / "m.onnx",
        [node("Identity", "x", "y"), node("Identity", "s", "t")],
        shapes,
        [("y", TensorProto.BFLOAT16, ["n", 2]), ("t", TensorProto.STRING, ["n"])],
    )
    inputs = (TensorSpec("x", "BF16", (-1, 2)), TensorSpec("s", "BYTES", (-1,)))
    outputs = (TensorSpec("y", "BF16", (-1, 2)), TensorSpec("t", "BYTES", (-1,)))
    with pytest.raises(BadInput, match="m/1 has both BF16 and BYTES tensors"):
        onnx_session(path, Model("m", "1", inputs, outputs, True))
