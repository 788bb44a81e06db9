"""OpenVINO answers as the file says, at once on every slot, in the datatypes that it can carry."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnx_files
import pytest
from onnx import TensorProto

from compilers.graph import graphs
from compilers.targets import cpu
from model_repo import runtime
from model_repo.errors import BadInput, Corrupt, Expired, MissingExtra
from model_repo.records import Model, TensorSpec
from model_repo.runtimes import openvino_ir
from model_repo.runtimes.openvino_ir import OpenvinoSession
from model_repo.tensors import DTYPES, Array

MODEL = Model(
    "m", "1", (TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", (-1, 3)),), True
)
ROWS = np.random.default_rng(0).random((5, 4), np.float32)
FLOAT = onnx_files.FLOAT
ONNX_NAMES = {"FP16": "FLOAT16", "FP32": "FLOAT", "FP64": "DOUBLE", "BF16": "BFLOAT16"}
CARRIED = sorted(DTYPES.keys() - {"BYTES"})


def opened(given: Path, model: Model = MODEL, slots: int = 1) -> OpenvinoSession:
    """The session of an ONNX file, lowered beside it."""
    artifact = cpu.lower(onnx.load(given), "openvino_ir", given.parent)
    return openvino_ir.open_session(given.parent / artifact.path, model, slots)


def same(folder: Path, kind: str, element: int, datatype: str) -> OpenvinoSession:
    """x [n, 2] -> y = kind(x)."""
    specs = (TensorSpec("x", datatype, (-1, 2)),), (TensorSpec("y", datatype, (-1, 2)),)
    port = element, ["n", 2]
    given = onnx_files.write(
        folder / "m.onnx", [onnx_files.node(kind, "x", "y")], [("x", *port)], [("y", *port)]
    )
    return opened(given, Model("m", "1", *specs, True))


def wide(folder: Path, turns: int = 60) -> OpenvinoSession:
    """Matrices multiplied so often that a batch takes a while."""
    nodes = [onnx_files.node("MatMul", f"h{i} w", f"h{i + 1}") for i in range(turns)]
    given = onnx_files.write(
        folder / "wide.onnx",
        [onnx_files.node("Identity", "x", "h0"), *nodes, onnx_files.node("Relu", f"h{turns}", "y")],
        [("x", FLOAT, ["n", 512])],
        [("y", FLOAT, ["n", 512])],
        {"w": np.eye(512, dtype=np.float32)},
    )
    specs = (TensorSpec("x", "FP32", (-1, 512)),), (TensorSpec("y", "FP32", (-1, 512)),)
    return opened(given, Model("m", "1", *specs, True))


def test_answers_as_onnx_runtime_does_in_exact_fp32(tmp_path: Path) -> None:
    given = onnx_files.linear(tmp_path / "m.onnx")
    wanted = runtime.load("onnx_graph").open_session(given, MODEL).run({"x": ROWS})[0]["y"]
    start = time.monotonic_ns()
    outputs, device_ns = opened(given).run({"x": ROWS})
    assert outputs["y"] == pytest.approx(wanted, abs=1e-6)
    assert 0 < device_ns <= time.monotonic_ns() - start


@pytest.mark.parametrize("datatype", CARRIED)
def test_carries_every_datatype_but_strings(datatype: str, tmp_path: Path) -> None:
    element = getattr(TensorProto, ONNX_NAMES.get(datatype, datatype))
    session = same(tmp_path, "Identity", element, datatype)
    given = np.array([[0, 1], [1, 0], [1, 1]]).astype(DTYPES[datatype])
    answer = session.run({"x": given})[0]["y"]
    assert answer.dtype == given.dtype and (answer == given).all()
    assert session.run({"x": given[:0]})[0]["y"].shape == (0, 2)


def test_strings_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="tensor 'x' holds strings, which OpenVINO does not take"):
        same(tmp_path, "Identity", TensorProto.STRING, "BYTES")


@pytest.mark.parametrize(("datatype", "number"), [("INT64", 2**31), ("INT64", -(2**31) - 1)])
def test_a_number_that_it_would_cut_off_is_refused(
    datatype: str, number: int, tmp_path: Path
) -> None:
    session = same(tmp_path, "Identity", TensorProto.INT64, datatype)
    with pytest.raises(BadInput, match="'x' holds a number that takes more than 32 bits"):
        session.run({"x": np.array([[0, number]])})


@pytest.mark.parametrize("datatype", ["FP32", "BF16"])
def test_arrays_need_not_be_in_one_piece_nor_writable(datatype: str, tmp_path: Path) -> None:
    dtype = DTYPES[datatype]
    element = getattr(TensorProto, ONNX_NAMES[datatype])
    session = same(tmp_path, "Abs", element, datatype)
    whole = np.arange(12, dtype=np.float32).astype(dtype).reshape(2, 6)
    read_only = np.frombuffer(whole.tobytes(), dtype).reshape(6, 2)
    for given in (whole[:, ::3], whole.reshape(6, 2), read_only):
        assert (session.run({"x": given})[0]["y"] == given).all()


def test_a_scalar_is_taken_where_the_model_does_not_batch(tmp_path: Path) -> None:
    given = onnx_files.write(
        tmp_path / "m.onnx",
        [onnx_files.node("Neg", "x", "y")],
        [("x", FLOAT, [])],
        [("y", FLOAT, [])],
    )
    model = Model("m", "1", (TensorSpec("x", "FP32", ()),), (TensorSpec("y", "FP32", ()),), False)
    answer = opened(given, model).run({"x": np.array(2.0, np.float32)})[0]["y"]
    assert answer.shape == () and answer == -2.0


def test_what_was_answered_stays_as_it_was(tmp_path: Path) -> None:
    for name, kind in (("a", "Identity"), ("b", "Relu")):
        (tmp_path / name).mkdir()
        session = same(tmp_path / name, kind, FLOAT, "FP32")
        given = np.ones((3, 2), np.float32)
        first = session.run({"x": given})[0]["y"]
        session.run({"x": given * 5})
        given *= 7
        assert (first == 1).all()


def test_what_was_given_stays_as_it_was(tmp_path: Path) -> None:
    given = -np.ones((3, 2), np.float32)
    same(tmp_path, "Relu", FLOAT, "FP32").run({"x": given})
    assert (given == -1).all()


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({"x": np.ones((2, 5), np.float32)}, r"refused these inputs: .*\[\?,4\].*\(2\.5\)"),
        ({"x": np.ones((2, 4))}, "refused these inputs: .*f64"),
        ({"x": np.ones((2, 4, 1), np.float32)}, "refused these inputs"),
        ({"x": np.array([["a", None]], object)}, "refused these inputs"),
        ({}, r"refused these inputs: it takes \['x'\], and \[\] were given"),
        ({"x": ROWS, "z": ROWS}, r"\['x', 'z'\] were given"),
    ],
)
def test_gives_its_reason_for_inputs_it_refuses_and_goes_on(
    inputs: dict[str, Array], reason: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    session = opened(onnx_files.linear(tmp_path / "m.onnx"))
    for limit_s in (None, 5.0):
        with pytest.raises(BadInput, match=reason) as caught:
            session.run(inputs, limit_s)
        assert "\n" not in str(caught.value) and ".cpp" not in str(caught.value)
    assert session.run({"x": ROWS})[0]["y"].shape == (5, 3)
    assert capfd.readouterr().err == ""  # a caller's mistake does not fill the log


def damage(path: Path, **parts: bytes) -> None:
    """Write the zip again with other parts."""
    with zipfile.ZipFile(path) as file:
        whole = {entry: file.read(entry) for entry in file.namelist()}
    with zipfile.ZipFile(path, "w") as file:
        for entry, data in whole.items():
            file.writestr(entry, parts.get(entry.replace(".", "_"), data))


@pytest.mark.parametrize(
    "parts",
    [{"model_xml": b"junk"}, {"model_xml": b""}, {"model_bin": b"short"}],
    ids=["graph", "nothing", "weights"],
)
def test_a_damaged_graph_or_weights_are_corrupt(parts: dict[str, bytes], tmp_path: Path) -> None:
    opened(onnx_files.linear(tmp_path / "m.onnx"))
    path = tmp_path / "model.ir.zip"
    damage(path, **parts)
    with pytest.raises(Corrupt, match=r"model\.ir\.zip is not usable in OpenVINO"):
        openvino_ir.open_session(path, MODEL)


def test_a_graph_of_another_model_is_corrupt(tmp_path: Path) -> None:
    other = Model("m", "1", MODEL.inputs, (TensorSpec("z", "FP32", (-1, 3)),), True)
    with pytest.raises(Corrupt, match="the graph has no tensor 'z'"):
        opened(onnx_files.linear(tmp_path / "m.onnx"), other)


def test_slots_run_at_once_and_more_threads_wait(tmp_path: Path) -> None:
    session = opened(onnx_files.linear(tmp_path / "m.onnx"), slots=2)
    wanted = session.run({"x": ROWS})[0]["y"]
    faults: list[object] = []

    def run() -> None:
        for _ in range(100):
            if not (session.run({"x": ROWS})[0]["y"] == wanted).all():
                faults.append("differs")

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_a_run_past_its_limit_is_stopped_and_the_next_one_is_sound(tmp_path: Path) -> None:
    session = wide(tmp_path)
    slow = {"x": np.ones((4096, 512), np.float32)}
    with pytest.raises(Expired, match=r"longer than 0\.01 s"):
        session.run(slow, 0.01)
    few = {"x": np.ones((2, 512), np.float32)}
    assert (session.run(few, 60.0)[0]["y"] == 1).all(), "the slot came back"
    assert (session.run(few, 60.0)[0]["y"] == 1).all(), "and shapes that were seen run as served"


ENDLESS = """
import sys
from pathlib import Path
import numpy as np, onnx
from compilers.targets import cpu
from model_repo.errors import Expired
from model_repo.records import Model, TensorSpec
from model_repo.runtimes import openvino_ir

folder = Path(sys.argv[1])
model = Model(
    "m", "1", (TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", (-1, 4)),), True
)
path = folder / cpu.lower(onnx.load(folder / "m.onnx"), "openvino_ir", folder).path
session = openvino_ir.open_session(path, model)
for _ in range(2):
    try:
        session.run({"x": np.ones((2, 4), np.float32)}, 0.2)
    except Expired as error:
        print(error)
session.close()
"""


def test_an_endless_run_is_given_up_and_the_process_can_end(tmp_path: Path) -> None:
    onnx_files.endless(tmp_path / "m.onnx")
    command = [sys.executable, "-c", ENDLESS, str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert told.stdout.splitlines() == [
        "the run took longer than 0.2 s",
        "all 0.2 s went by in waiting for the runs before",
    ], told.stderr


def test_bf16_is_computed_where_the_graph_asks_for_it(tmp_path: Path) -> None:
    if not openvino_ir.has_bf16():
        pytest.skip("this CPU has no instructions for bf16")
    proto = onnx.load(onnx_files.linear(tmp_path / "m.onnx", columns=64, classes=32))
    specs = (TensorSpec("x", "FP32", (-1, 64)),), (TensorSpec("y", "FP32", (-1, 32)),)
    model = Model("m", "1", *specs, True)
    rows = {"x": np.random.default_rng(0).standard_normal((8, 64)).astype(np.float32)}
    answers = []
    for precision in ("", "bf16"):
        if precision:
            proto.metadata_props.add(key=graphs.PRECISION, value=precision)
        path = tmp_path / cpu.lower(proto, "openvino_ir", tmp_path).path
        answers.append(openvino_ir.open_session(path, model).run(rows)[0]["y"])
    gap = np.abs(answers[0] - answers[1]).max()
    assert 1e-6 < gap < 0.05


def test_without_openvino_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_ir, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"'openvino', .*farebox\[openvino\]"):
        openvino_ir.check()
    with pytest.raises(MissingExtra):
        openvino_ir.open_session(Path("m.zip"), MODEL)
