"""`farebox import`: foreign files become models on the shelf, or one sentence says why not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from onnx_files import FLOAT, linear, node, write
from onnxruntime.datasets import get_example

from compilers.commands import __path__ as commands_path
from compilers.datasets import Data
from compilers.foreign import derived, given, importing, intake, settle
from compilers.foreign.orders import Request
from compilers.foreign.signature import Port
from compilers.profiling import race
from model_repo import runtime
from model_repo.cli import main
from model_repo.errors import BadInput
from model_repo.records import Variant, VariantKey
from model_repo.runtimes import openvino_ir
from model_repo.store import Store, sha256_of
from model_repo.tensors import Array

MODES = {
    "cpu-int8": "static",
    "cpu-int8-openvino": "static",
    "cpu-int8-qdq": "qdq",
    "cpu-int8-dynamic": "dynamic",
}
ALL = {name for each in derived.DEFAULT for name in each.variants} | {"cpu-reference"}
if not openvino_ir.has_bf16():
    ALL -= {"cpu-bf16-openvino"}


@pytest.fixture(autouse=True)
def lost(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Who loses the race, and why: models so small would leave that to chance."""
    lost: dict[str, str] = {}
    monkeypatch.setattr(
        race, "losers", lambda times, kept: {n: lost[n] for n in times if n in lost}
    )
    return lost


def run(*words: object) -> int:
    return main(["import", *map(str, words)])


def variants(root: Path, name: str = "m", version: str = "1") -> dict[str, Variant]:
    return {v.key.variant: v for v in Store(root).variants(name, version)}


def save(folder: Path, labels: Array | None = None, **arrays: Array) -> list[str]:
    np.savez(folder / "data.npz", **arrays)
    words = ["--data", str(folder / "data.npz")]
    if labels is not None:
        np.save(folder / "labels.npy", labels)
        words += ["--labels", str(folder / "labels.npy")]
    return words


def rows(count: int = 120, columns: int = 4) -> Array:
    return np.random.default_rng(1).standard_normal((count, columns)).astype(np.float32)


def answer(path: Path, given_rows: Array) -> Array:
    found = settle.settle(importing.signature.read(path, path.parent), "m", "1", None, seed=0).model
    outputs, _ = runtime.load("onnx_graph").open_session(path, found).run({"x": given_rows})
    return outputs["y"].argmax(axis=1)


@pytest.mark.parametrize("name", ["logreg_iris", "sigmoid", "mul_1"])
def test_the_files_onnx_runtime_ships_are_imported(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(get_example(f"{name}.onnx"), "--repository", tmp_path) == 0
    (variant,) = variants(tmp_path, name).values()
    profile = variant.profile
    assert (variant.key.variant, variant.kind, variant.target) == (
        "cpu-reference",
        "reference",
        "cpu",
    )
    assert (profile.accuracy, profile.accuracy_low, profile.accuracy_samples) == (1.0, 1.0, 0)
    assert [point.batch_size for point in profile.latency] == [1]
    out = capsys.readouterr()
    assert f"{name}/1/cpu-reference" in out.out and "fixed at 3" in out.err


def test_a_file_without_data_is_shelved_byte_for_byte(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx")
    assert run(path, "--repository", tmp_path / "repo") == 0
    (variant,) = variants(tmp_path / "repo").values()
    assert variant.artifact.sha256 == sha256_of(path)
    assert [p.batch_size for p in variant.profile.latency] == list(intake.BATCH_SIZES)
    assert Store(tmp_path / "repo").artifact(variant).read_bytes() == path.read_bytes()


def test_importing_again_does_nothing_and_other_bytes_need_another_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repo = ("--repository", tmp_path / "repo")
    path = linear(tmp_path / "m.onnx")
    assert run(path, *repo) == 0
    before = Store(tmp_path / "repo").fingerprint()
    assert run(path, *repo) == 0
    assert "already shelved" in capsys.readouterr().out
    assert Store(tmp_path / "repo").fingerprint() == before
    other = linear(tmp_path / "other.onnx", seed=1)
    assert run(other, "--name", "m", *repo) == 2
    assert f"m/1 --repository {repo[1]}' first" in capsys.readouterr().err
    assert run(other, "--name", "m", "--version", "2", *repo) == 0
    assert Store(tmp_path / "repo").versions() == [("m", "1"), ("m", "2")]


def test_with_data_int8_variants_are_judged_by_their_fidelity(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = linear(tmp_path / "m.onnx", columns=16)
    data = save(tmp_path, x=rows(200, 16))
    assert run(path, *data, "--repository", tmp_path / "repo", "--json") == 0
    found = variants(tmp_path / "repo")
    assert set(found) == ALL
    for name, mode in MODES.items():
        profile = found[name].profile
        assert found[name].steps[0].name == "quantize"
        assert found[name].steps[0].options["mode"] == mode
        assert profile.accuracy_samples == 150  # 200 less 50 for calibration
        assert 0.8 < profile.accuracy_low <= profile.accuracy <= profile.accuracy_high <= 1.0
        Store(tmp_path / "repo").artifact(found[name])
    # A dynamic scale is taken from the whole batch, so that rows would sway each other.
    assert [p.batch_size for p in found["cpu-int8-dynamic"].profile.latency] == [1]
    assert found["cpu-int8"].profile.largest_batch == 32
    told = json.loads(capsys.readouterr().out)
    assert set(told["made"]) == ALL and told["made"][0] == "cpu-reference"
    assert told["missing"] == {} and told["model"]["metric"] == "agreement"


def test_what_loses_its_race_is_noted_and_not_tried_again(
    tmp_path: Path, lost: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    lost["cpu-int8-qdq"] = "dearer than cpu-reference at every batch size tried: 2.0x at 1"
    repo = ("--repository", tmp_path / "repo")
    words = [linear(tmp_path / "m.onnx"), *save(tmp_path, x=rows()), *repo]
    assert run(*words, "--json") == 0
    assert set(variants(tmp_path / "repo")) == ALL - {"cpu-int8-qdq"}
    said = capsys.readouterr()
    assert json.loads(said.out)["missing"]["cpu-int8-qdq"] == lost["cpu-int8-qdq"]
    assert f"cpu-int8-qdq is not shelved: {lost['cpu-int8-qdq']}" in said.err
    lost.clear()
    assert run(*words) == 0
    assert "already shelved" in capsys.readouterr().out
    assert "cpu-int8-qdq" not in variants(tmp_path / "repo")
    assert main(["report", "m", "--repository", str(tmp_path / "repo")]) == 0
    assert "not on the shelf:\n  cpu-int8-qdq: dearer" in capsys.readouterr().out


def test_weights_in_few_bits_are_made_if_asked_for(tmp_path: Path) -> None:
    words = linear(tmp_path / "m.onnx", columns=64, classes=32), *save(tmp_path, x=rows(60, 64))
    asked = ("--also", "w8", "--also", "w4", "--repository", tmp_path / "repo")
    assert run(*words, *asked) == 0
    found = variants(tmp_path / "repo")
    assert {"cpu-w8", "cpu-w8-openvino", "cpu-w4", "cpu-w4-openvino"} <= found.keys()
    sizes = {name: found[f"cpu-{name}"].artifact.size_bytes for name in ("reference", "w8", "w4")}
    assert sizes["w4"] < sizes["w8"] < sizes["reference"]
    assert found["cpu-w8"].profile.accuracy > 0.8


def test_a_graph_that_answers_nan_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(
        tmp_path / "m.onnx",
        [node("MatMul", "x w", "h"), node("Log", "h", "y")],
        [("x", FLOAT, ["n", 4])],
        [("y", FLOAT, ["n", 3])],
        {"w": np.ones((4, 3), np.float32)},
    )
    assert run(path, *save(tmp_path, x=rows()), "--repository", tmp_path / "repo") == 2
    said = capsys.readouterr().err
    assert "the answers 'y' to " in said and "NaN or infinity: correct the data or the mod" in said
    assert Store(tmp_path / "repo").versions() == []


def test_infinite_answers_are_counted_and_nan_is_found_in_any_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ports = [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])]
    path = write(tmp_path / "m.onnx", [node("Log", "x", "y")], *ports)
    given_rows = np.abs(rows()) + 1
    given_rows[-30:, 0] = 0
    data = save(tmp_path, np.zeros(120, np.int64), x=given_rows)
    assert run(path, *data, "--repository", tmp_path / "repo") == 0
    assert " of 90 held-out rows hold infinity, and count as wrong" in capsys.readouterr().err
    given_rows[-30:, 0] = -1
    data = save(tmp_path, np.zeros(120, np.int64), x=given_rows)
    assert run(path, *data, "--version", 2, "--repository", tmp_path / "repo") == 2
    assert " of 90 held-out rows hold NaN or infinity" in capsys.readouterr().err


def test_of_one_number_a_row_only_the_reference_is_shelved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = linear(tmp_path / "m.onnx", columns=16, classes=1), *save(tmp_path, x=rows(60, 16))
    assert run(*words, "--repository", tmp_path / "repo") == 0
    assert set(variants(tmp_path / "repo")) == {"cpu-reference"}
    said = capsys.readouterr().err
    assert "cpu-int8 is not shelved: no cosine can be told of the output 'y' ['n', 1]" in said


def test_with_labels_accuracy_is_measured_on_the_reference_too(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx")
    labels = answer(path, rows(400))
    labels[::10] = (labels[::10] + 1) % 3
    data = save(tmp_path, labels, x=rows(400))
    assert run(path, *data, "--repository", tmp_path / "repo") == 0
    found = variants(tmp_path / "repo")
    reference = found["cpu-reference"].profile
    assert Store(tmp_path / "repo").model("m", "1").metric == "accuracy"
    assert reference.accuracy == pytest.approx(0.9, abs=0.03)
    assert reference.accuracy_low < 0.9 < reference.accuracy_high
    assert {v.profile.accuracy_samples for v in found.values()} == {300}


def test_labels_may_be_a_column_and_are_part_of_the_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, repo = linear(tmp_path / "m.onnx"), ("--repository", tmp_path / "repo")
    data = save(tmp_path, answer(path, rows(40))[:, None], x=rows(40))
    assert run(path, *data, *repo) == 0
    assert variants(tmp_path / "repo")["cpu-reference"].profile.accuracy == 1.0
    before = Store(tmp_path / "repo").fingerprint()
    capsys.readouterr()
    assert run(path, *repo) == 2
    said = capsys.readouterr().err
    assert "m/1 was imported with other data or labels, judged by the accuracy of 'y'" in said
    assert "give the same --data and --labels" in said and said.count("\n") == 1
    assert Store(tmp_path / "repo").fingerprint() == before


def test_a_model_of_fixed_size_is_calibrated_call_by_call(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx", rows=3)
    assert run(path, *save(tmp_path, x=rows(90)), "--repository", tmp_path / "repo") == 0
    found = variants(tmp_path / "repo")
    assert set(found) == ALL
    assert found["cpu-int8"].profile.accuracy_samples == 66  # 68 held out, in calls of three
    whole = save(tmp_path, x=rows(90).reshape(30, 3, 4))
    assert run(path, *whole, "--version", 2, "--repository", tmp_path / "repo") == 0
    found = variants(tmp_path / "repo", version="2")
    assert set(found) == ALL
    assert found["cpu-int8"].profile.accuracy_samples == 23


def test_what_cannot_be_quantized_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = save(tmp_path, np.arange(30) % 3, float_input=rows(30, 2))
    assert run(get_example("logreg_iris.onnx"), *data, "--repository", tmp_path / "repo") == 0
    assert list(variants(tmp_path / "repo", "logreg_iris")) == ["cpu-reference"]
    err = capsys.readouterr().err
    for name in MODES:
        assert f"{name} is not shelved: it has no convolution and no matrix product" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("count", [1, 3, 40])
def test_too_few_or_equal_rows_make_no_int8(
    count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = save(tmp_path, x=np.ones((count, 4), np.float32))
    assert run(linear(tmp_path / "m.onnx"), *data, "--repository", tmp_path / "repo") == 0
    assert list(variants(tmp_path / "repo")) == ["cpu-reference"]
    assert "rows that differ" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"z": rows()}, "the model's inputs are ['x']"),
        ({"x": rows(), "z": rows()}, "the model's inputs are ['x']"),
        ({"x": rows(columns=5)}, "has the shape [120, 5], but the input is [-1, 4]"),
        ({"x": rows()[0, 0]}, "has the shape [], but"),
        ({"x": np.ones((9, 4), np.int64)}, "is int64, but the input is FP32: save it as float32"),
        ({"x": np.full((9, 4), "a")}, "is <U1, but the input is FP32"),
        ({"x": np.full((9, 4), None)}, "not of objects"),
        ({"x": rows(0)}, "at least one"),
    ],
)
def test_data_that_does_not_fit_is_refused(
    arrays: dict[str, Array], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = save(tmp_path, **arrays)
    assert run(linear(tmp_path / "m.onnx"), *words, "--repository", tmp_path / "repo") == 2
    assert reason in capsys.readouterr().err
    assert Store(tmp_path / "repo").versions() == []


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.zeros(7, np.int64), "but the data has 120 rows"),
        (np.zeros(120), "save one array of integers or strings"),
        (np.zeros(120, bool), "are bool: save one array of integers or strings"),
        (np.eye(3, dtype=int)[np.zeros(120, int)], "shape [120, 3], but the data has 120 rows"),
        (np.zeros((120, 2), int), "give one label for each, [120] or [120, 1]"),
        (50 + np.arange(120) % 3, "reach from 50 to 52, but the output 'y' scores 3 classes"),
        (np.r_[-1, np.zeros(119, int)], "reach from -1 to 0"),
        (np.full(120, "a"), "give labels as the model names its classes"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    labels: Array, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = save(tmp_path, labels, x=rows())
    assert run(linear(tmp_path / "m.onnx"), *words, "--repository", tmp_path / "repo") == 2
    assert reason in capsys.readouterr().err
    assert Store(tmp_path / "repo").versions() == []


def test_labels_alone_and_files_that_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = linear(tmp_path / "m.onnx")
    np.save(tmp_path / "labels.npy", np.zeros(3, np.int64))
    (tmp_path / "junk.npz").write_bytes(b"junk")
    repo = ("--repository", tmp_path / "repo")
    assert run(path, "--labels", tmp_path / "labels.npy", *repo) == 2
    assert "--labels needs --data" in capsys.readouterr().err
    assert run(path, "--data", tmp_path / "labels.npy", *repo) == 2
    assert "is a single array, but an .npz file of one array for each" in capsys.readouterr().err
    assert run(path, "--data", tmp_path / "junk.npz", *repo) == 2
    assert "is no .npz file of one array for each input" in capsys.readouterr().err
    both = ("--data", save(tmp_path, x=rows())[1])
    assert run(path, *both, "--labels", tmp_path / "junk.npz", *repo) == 2
    assert "is no .npy file of one array" in capsys.readouterr().err
    (tmp_path / "empty.onnx").touch()
    assert run(tmp_path / "empty.onnx", *repo) == 2
    assert "empty.onnx is no ONNX model" in capsys.readouterr().err
    for bad in ("junk.npz", "labels.npy", "absent.npz"):
        assert run(path, "--data", tmp_path / bad, *repo) == 2
    assert run(tmp_path / "absent.onnx", *repo) == 2
    assert run(path, "--name", "a/b", *repo) == 2
    assert "Traceback" not in capsys.readouterr().err


PORTS = [
    ("FP32", np.array([[0.1], [2]]), True),
    ("FP16", np.array([[0.5], [2]], np.float32), True),
    ("FP16", np.array([[0.1], [2]], np.float32), False),
    ("BF16", np.array([[0.5], [2]], np.float32), True),
    ("FP64", np.array([[0.5], [2]], np.float32), True),
    ("INT32", np.array([[1], [2]]), True),
    ("INT8", np.array([[1], [300]]), False),
    ("UINT8", np.array([[1], [2]]), False),
    ("INT64", np.array([[0.5], [2]]), False),
    ("BOOL", np.array([[1], [0]]), False),
    ("BYTES", np.array([["a"], ["b"]]), True),
]


@pytest.mark.parametrize(("datatype", "array", "fits"), PORTS)
def test_a_cast_that_loses_nothing_is_made_and_said(
    datatype: str, array: Array, fits: bool, tmp_path: Path
) -> None:
    np.savez(tmp_path / "data.npz", x=array)
    port, told = Port("x", datatype, ("n", 1)), []
    if not fits:
        with pytest.raises(BadInput, match=f"'x' is {array.dtype}, but the input is {datatype}"):
            given.read(tmp_path / "data.npz", None, [port], told.append)
        return
    data = given.read(tmp_path / "data.npz", None, [port], told.append)
    assert (data.inputs["x"] == array.astype(data.inputs["x"].dtype)).all()
    assert len(told) == (datatype != "BYTES")


def test_strings_go_in_and_labels_may_be_strings(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.onnx",
        [node("Identity", "x", "y")],
        [("x", TensorProto.STRING, ["n"])],
        [("y", TensorProto.STRING, ["n"])],
    )
    words = np.array([f"word {i % 7}" for i in range(50)])
    data = save(tmp_path, words, x=words)
    assert run(path, *data, "--repository", tmp_path / "repo") == 0
    assert variants(tmp_path / "repo")["cpu-reference"].profile.accuracy == 1.0


def test_rows_that_are_not_finite_are_left_out_and_numbered_as_given(tmp_path: Path) -> None:
    ports = [Port("x", "FP32", ("n", 4)), Port("ids", "INT64", ("n", 1))]
    given_rows, ids, told = rows(20), np.arange(20)[:, None], []
    given_rows[[3, 12], [0, 2]] = np.nan, np.inf
    words = save(tmp_path, np.arange(20), x=given_rows, ids=ids)
    paths = Path(words[1]), Path(words[3])
    data = given.read(*paths, ports, told.append)
    (said,) = told
    assert "2 of 20 rows of the data" in said and "row 3, counted from 0, in 'x'" in said
    kept = np.delete(np.arange(20), [3, 12])
    assert data.labels is not None and (data.labels == kept).all()
    assert (data.inputs["ids"][:, 0] == kept).all() and np.isfinite(data.inputs["x"]).all()
    save(tmp_path, x=np.full((20, 4), np.nan, np.float32), ids=ids)
    assert len(given.read(*paths, ports, told.append)) == 20 and "they are kept" in told[1]


def test_strings_that_are_not_utf_8_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ports = [[(name, TensorProto.STRING, ["n"])] for name in "xy"]
    path = write(tmp_path / "m.onnx", [node("Identity", "x", "y")], *ports)
    data = save(tmp_path, x=np.array([b"good"] * 20 + [b"bad\xff"]))
    assert run(path, *data, "--repository", tmp_path / "repo") == 2
    said = capsys.readouterr().err
    assert "'x' holds a string that is not UTF-8, in row 20" in said and "differ" not in said


def test_a_variant_taken_off_the_shelf_or_broken_is_made_again(tmp_path: Path) -> None:
    path, data = linear(tmp_path / "m.onnx"), save(tmp_path, x=rows())
    repo = tmp_path / "repo"
    assert run(path, *data, "--repository", repo) == 0
    first = variants(repo)
    Store(repo).remove("m", "1", "cpu-int8")
    key = VariantKey("m", "1", "cpu-int8-dynamic")
    (Store(repo).folder(key) / first[key.variant].artifact.path).write_bytes(b"rot")
    assert run(path, *data, "--repository", repo) == 0
    second = variants(repo)
    assert set(second) == set(first)
    assert second["cpu-reference"] == first["cpu-reference"]
    assert second["cpu-int8"].artifact == first["cpu-int8"].artifact
    assert main(["verify", "--repository", str(repo)]) == 0


def test_two_inputs_and_two_outputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(
        tmp_path / "m.onnx",
        [node("MatMul", "a w", "sum"), node("Add", "sum b", "y"), node("Sub", "sum b", "z")],
        [("a", FLOAT, ["n", 4]), ("b", FLOAT, ["n", 3])],
        [("y", FLOAT, ["n", 3]), ("z", FLOAT, ["n", 3])],
        {"w": np.random.default_rng(0).random((4, 3), np.float32)},
        opset=11,
    )
    data = save(tmp_path, a=rows(60, 4), b=rows(60, 3))
    assert run(path, *data, "--repository", tmp_path / "repo") == 0
    said = capsys.readouterr().err
    assert (
        "judged by the cosine of the output 'y' alone: nothing tells how good they are at" in said
    )
    found = variants(tmp_path / "repo")
    assert set(found) == ALL
    assert all(v.profile.accuracy > 0.99 for v in found.values())
    assert found["cpu-int8"].profile.accuracy_low < found["cpu-int8"].profile.accuracy


def test_calibration_and_held_out_rows_have_none_in_common(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx")
    request = Request(path, "m", "1")
    data = Data({"x": np.repeat(rows(40), 2, axis=0)})
    work = intake.Intake(
        request,
        Store(tmp_path),
        None,  # type: ignore[arg-type]  # nothing is told here
        importing.signature.read(path, tmp_path),
        data,
        tmp_path,
    )
    work.__dict__["_settled"] = settle.settle(work.read, "m", "1", data, 0)
    calibration, held_out = ({row.tobytes() for row in part.inputs["x"]} for part in work._parts)
    assert calibration and held_out and not calibration & held_out


def test_a_file_name_becomes_an_allowed_name() -> None:
    import importlib

    assert commands_path
    name_of = importlib.import_module("compilers.commands.import").name_of
    assert name_of(Path("a/My Model (v2).onnx")) == "My-Model-v2"
    assert name_of(Path("résumé.onnx")) == "r-sum"
    assert name_of(Path("日本.onnx")) == "model"
    assert name_of(Path(f"{'x' * 300}.onnx")) == "x" * 128
