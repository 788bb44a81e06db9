"""Foreign ONNX files are read as they are: every datatype, every shape, oddities named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_files import FLOAT, linear, node, write
from onnxruntime.datasets import get_example

from compilers import made_up
from compilers.datasets import Data
from compilers.foreign import settle, signature
from compilers.foreign.settle import Settled
from model_repo import runtime
from model_repo.errors import BadInput, Corrupt
from model_repo.records import TensorSpec
from model_repo.tensors import DTYPES, Array

INT64 = TensorProto.INT64
BOOL = TensorProto.BOOL


def settled(path: Path, data: Data | None = None) -> Settled:
    return settle.settle(signature.read(path, path.parent), "m", "1", data, seed=0)


def identity(path: Path, element: int, shape: Any) -> Path:
    ports = [[(name, element, shape)] for name in "xy"]
    return write(path, [node("Identity", "x", "y")], *ports)


@pytest.mark.parametrize(("element", "datatype"), signature.DATATYPES.items())
@pytest.mark.parametrize("shape", [["n", 3], [2, 3], []])
def test_every_datatype_goes_in_and_comes_out_unchanged(
    tmp_path: Path, element: int, datatype: str, shape: list[int | str]
) -> None:
    path = identity(tmp_path / "m.onnx", element, shape)
    read = settled(path)
    wanted = tuple(-1 if isinstance(size, str) else size for size in shape)
    assert read.model.inputs == (TensorSpec("x", datatype, wanted),)
    assert read.model.outputs == (TensorSpec("y", datatype, wanted),)
    assert read.model.batches == (shape == ["n", 3])
    session = runtime.load("onnx_graph").open_session(path, read.model)
    given = made_up.draw(signature.read(path, tmp_path).inputs, 4, np.random.default_rng(0))["x"]
    (seen,) = session.run({"x": given}, 5.0)[0].values()
    assert isinstance(seen, np.ndarray) and seen.shape == given.shape
    assert seen.dtype == DTYPES[datatype] and (seen == given).all()


@pytest.mark.parametrize("name", ["logreg_iris.onnx", "sigmoid.onnx", "mul_1.onnx"])
def test_a_fixed_first_axis_stays_fixed(name: str, tmp_path: Path) -> None:
    read = settle.settle(signature.read(Path(get_example(name)), tmp_path), "m", "1", None, 0)
    assert not read.model.batches and read.model.inputs[0].shape[0] == 3
    assert "fixed at 3" in read.remarks[-1]


def test_the_scores_behind_a_zip_map_are_served_under_its_name(tmp_path: Path) -> None:
    path = Path(get_example("logreg_iris.onnx"))
    read = signature.read(path, tmp_path)
    assert read.path != path and "list of maps" in read.remarks[0]
    found = settle.settle(read, "m", "1", None, 0).model
    assert [spec.name for spec in found.outputs] == ["label", "probabilities"]
    assert (found.metric, found.scored_output) == ("agreement", "probabilities")
    assert found.labels == ("0", "1", "2")
    rows = np.random.default_rng(0).random((3, 2), np.float32)
    session = runtime.load("onnx_graph").open_session(read.path, found)
    outputs, _ = session.run({"float_input": rows})
    assert outputs["probabilities"].sum(axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    assert (outputs["probabilities"].argmax(axis=1) == outputs["label"]).all()


def test_a_plain_file_is_kept_byte_for_byte(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx")
    assert signature.read(path, tmp_path / "other").path == path


def test_external_data_is_folded_in(tmp_path: Path) -> None:
    plain = linear(tmp_path / "plain.onnx")
    whole = onnx.load(plain)
    onnx.save(
        whole, tmp_path / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0
    )
    folder = tmp_path / "out"
    folder.mkdir()
    read = signature.read(tmp_path / "m.onnx", folder)
    assert read.path.parent == folder and "external data" in read.remarks[0]
    rows = np.ones((2, 4), np.float32)
    found = settle.settle(read, "m", "1", None, 0).model
    results = [
        runtime.load("onnx_graph").open_session(p, found).run({"x": rows})[0]["y"]
        for p in (plain, read.path)
    ]
    assert (results[0] == results[1]).all()
    (tmp_path / "m.bin").unlink()
    with pytest.raises(BadInput, match="external data"):
        signature.read(tmp_path / "m.onnx", folder)


def test_more_external_data_than_one_file_holds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compilers.foreign import foreign

    monkeypatch.setattr(foreign, "LARGEST_BYTES", 10)
    linear(tmp_path / "plain.onnx")
    onnx.save(
        onnx.load(tmp_path / "plain.onnx"),
        tmp_path / "m.onnx",
        save_as_external_data=True,
        location="m.bin",
        size_threshold=0,
    )
    with pytest.raises(BadInput, match="ends at 2 GiB"):
        signature.read(tmp_path / "m.onnx", tmp_path)


def test_names_with_slashes_and_dots_and_several_tensors(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.onnx",
        [node("Add", "in/a.0 in/b.1", "out/sum.0"), node("Sub", "in/a.0 in/b.1", "out/dif.0")],
        [("in/a.0", FLOAT, ["n", 2]), ("in/b.1", FLOAT, ["batch", 2])],
        [("out/sum.0", FLOAT, ["n", 2]), ("out/dif.0", FLOAT, [None, 2])],
    )
    model = settled(path).model
    assert [spec.name for spec in model.inputs] == ["in/a.0", "in/b.1"]
    assert [spec.shape for spec in model.outputs] == [(-1, 2), (-1, 2)]
    assert model.batches and model.metric == "cosine" and model.scored_output == "out/sum.0"


def test_an_initializer_listed_as_an_input_is_none(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.onnx",
        [node("Mul", "x w", "y")],
        [("x", FLOAT, ["n", 2]), ("w", FLOAT, [2])],
        [("y", FLOAT, ["n", 2])],
        {"w": np.ones(2, np.float32)},
        opset=11,
    )
    assert [spec.name for spec in settled(path).model.inputs] == ["x"]


def test_rows_that_touch_each_other_do_not_batch(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.onnx",
        [node("ReduceMean", "x", "mean", axes=[0], keepdims=1), node("Sub", "x mean", "y")],
        [("x", FLOAT, ["n", 2])],
        [("y", FLOAT, ["n", 2])],
    )
    read = settled(path)
    assert not read.model.batches and read.model.inputs[0].shape == (-1, 2)
    assert "differ from rows answered alone" in read.remarks[-1]


def test_a_recurrent_net_with_its_batch_on_axis_one_does_not_batch(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = write(
        tmp_path / "m.onnx",
        [node("LSTM", "x w r", "y hidden", hidden_size=2)],
        [("x", FLOAT, ["time", "n", 3])],
        [("y", FLOAT, ["time", 1, "n", 2]), ("hidden", FLOAT, [1, "n", 2])],
        {"w": rng.random((1, 8, 3), np.float32), "r": rng.random((1, 8, 2), np.float32)},
    )
    read = settled(path)
    assert not read.model.batches and "axis 0 of 'hidden' is fixed at 1" in read.remarks[-1]
    only_y = write(
        tmp_path / "y.onnx",
        [node("LSTM", "x w r", "y", hidden_size=2)],
        [("x", FLOAT, ["time", "n", 3])],
        [("y", FLOAT, ["time", 1, "n", 2])],
        {"w": rng.random((1, 8, 3), np.float32), "r": rng.random((1, 8, 2), np.float32)},
    )
    assert "differ from rows answered alone" in settled(only_y).remarks[-1]


def test_a_scalar_belongs_to_the_whole_request(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.onnx",
        [node("Mul", "x scale", "y")],
        [("x", FLOAT, ["n", 2]), ("scale", FLOAT, [])],
        [("y", FLOAT, ["n", 2])],
    )
    read = settled(path)
    assert not read.model.batches and "'scale' is a scalar" in read.remarks[-1]
    assert read.data.inputs["scale"].ndim == 1


def test_a_free_sequence_axis_batches(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = write(
        tmp_path / "m.onnx",
        [
            node("Gather", "table ids", "rows"),
            node("ReduceMean", "rows", "y", axes=[1], keepdims=0),
        ],
        [("ids", INT64, ["n", "length"])],
        [("y", FLOAT, ["n", 5])],
        {"table": rng.random((9, 5), np.float32)},
    )
    model = settled(path).model
    assert model.batches and model.inputs[0].shape == (-1, -1)
    assert model.metric == "agreement"


def test_a_size_that_works_is_found(tmp_path: Path) -> None:
    """Only images of side 8 can be flattened into this layer."""
    path = write(
        tmp_path / "m.onnx",
        [node("Flatten", "x", "flat"), node("MatMul", "flat w", "y")],
        [("x", FLOAT, ["n", "side", "side"])],
        [("y", FLOAT, ["n", 2])],
        {"w": np.ones((64, 2), np.float32)},
    )
    read = settled(path)
    assert read.model.batches and read.data.inputs["x"].shape[1:] == (8, 8)


def test_without_inputs_that_work_data_is_asked_for(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.onnx",
        [node("Add", "ids shift", "far"), node("Gather", "table far", "y")],
        [("ids", INT64, ["n"])],
        [("y", FLOAT, ["n", 3])],
        {"table": np.ones((4, 3), np.float32), "shift": np.array([-7], np.int64)},
    )
    with pytest.raises(BadInput, match=r"out of data bounds.*--data"):
        settled(path)
    found = settled(path, Data({"ids": np.array([7, 8, 9, 10])}))
    assert found.model.batches


def loop(path: Path, trips: int | None) -> Path:
    """y = x doubled `trips` times, or for ever."""
    body = helper.make_graph(
        [node("Identity", "go_in", "go_out"), node("Add", "v v", "w")],
        "body",
        [
            helper.make_tensor_value_info("i", INT64, []),
            helper.make_tensor_value_info("go_in", BOOL, []),
            helper.make_tensor_value_info("v", FLOAT, ["n", 2]),
        ],
        [
            helper.make_tensor_value_info("go_out", BOOL, []),
            helper.make_tensor_value_info("w", FLOAT, ["n", 2]),
        ],
    )
    weights: dict[str, Any] = {"go": np.array(True)}
    if trips is not None:
        weights["trips"] = np.array(trips, np.int64)
    count = "trips" if trips is not None else ""
    made = helper.make_node("Loop", [count, "go", "x"], ["y"], body=body)
    return write(path, [made], [("x", FLOAT, ["n", 2])], [("y", FLOAT, ["n", 2])], weights)


def test_loops_and_branches_are_served(tmp_path: Path) -> None:
    assert settled(loop(tmp_path / "loop.onnx", 3)).model.batches
    branches = [
        helper.make_graph(
            [node(kind, "x", "z")], kind, [], [helper.make_tensor_value_info("z", FLOAT, None)]
        )
        for kind in ("Neg", "Abs")
    ]
    total = node("ReduceSum", "x", "sum", keepdims=0)
    test = node("Greater", "sum zero", "positive")
    chosen = helper.make_node(
        "If", ["positive"], ["y"], then_branch=branches[0], else_branch=branches[1]
    )
    path = write(
        tmp_path / "if.onnx",
        [total, test, chosen],
        [("x", FLOAT, ["n", 2])],
        [("y", FLOAT, ["n", 2])],
        {"zero": np.array(3.0, np.float32)},
    )
    assert not settled(path).model.batches  # the rows decide together which branch is taken


def test_an_endless_loop_ends_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settle, "LIMIT_S", 0.2)
    with pytest.raises(BadInput, match=r"took longer than 0.2 s.*--data"):
        settled(loop(tmp_path / "m.onnx", None))


def test_an_output_that_is_no_tensor_is_left_out(tmp_path: Path) -> None:
    nodes = [node("SplitToSequence", "x", "parts", axis=1), node("Identity", "x", "y")]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", FLOAT, ["n", 2])],
        [
            helper.make_tensor_sequence_value_info("parts", FLOAT, None),
            helper.make_tensor_value_info("y", FLOAT, ["n", 2]),
        ],
    )
    opset = [helper.make_opsetid("", 17)]
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    read = settled(path)
    assert [spec.name for spec in read.model.outputs] == ["y"]
    assert "'parts' is left out" in read.remarks[0]
    del graph.output[1]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    with pytest.raises(BadInput, match="no output that is a tensor"):
        settled(path)


def test_an_output_without_a_declared_rank_is_seen_when_run(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx")
    proto = onnx.load(path)
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    onnx.save(proto, path)
    model = settled(path).model
    assert model.batches and model.outputs[0].shape == (-1, -1)


@pytest.mark.parametrize("raw", [b"", b"not a model", bytes(range(256))])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(raw)
    with pytest.raises(BadInput):
        signature.read(tmp_path / "m.onnx", tmp_path)
    with pytest.raises(BadInput, match="cannot be read"):
        signature.read(tmp_path / "absent.onnx", tmp_path)


def test_an_operator_nobody_knows_is_named(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx")
    proto = onnx.load(path)
    proto.graph.node[0].op_type = "Frobnicate"
    onnx.save(proto, path)
    with pytest.raises(Corrupt, match="Frobnicate"):
        settled(path)


@pytest.mark.parametrize(
    ("shapes", "labels", "wanted"),
    [
        ([("s", "FP32", (-1, 3))], None, ("agreement", "s")),
        ([("s", "FP32", (-1, 1))], None, ("cosine", "s")),
        ([("a", "FP32", (-1, 3)), ("b", "FP32", (-1, 3))], None, ("cosine", "a")),
        ([("s", "FP32", (-1, 1)), ("e", "FP32", (-1, 2, 4))], None, ("cosine", "e")),
        ([("s", "FP32", (-1, 1)), ("c", "INT64", (-1,))], None, ("agreement", "c")),
        ([("c", "INT64", (-1,))], None, ("agreement", "c")),
        ([("c", "INT64", (-1,)), ("s", "FP32", (-1, 3))], np.array([1]), ("accuracy", "c")),
        ([("c", "BYTES", (-1,)), ("s", "FP32", (-1, 3))], np.array([1]), ("accuracy", "s")),
        ([("c", "BYTES", (-1,)), ("s", "FP32", (-1, 3))], np.array(["a"]), ("accuracy", "c")),
    ],
)
def test_what_a_model_is_judged_on(
    shapes: list[tuple[str, str, tuple[int, ...]]], labels: Array | None, wanted: tuple[str, str]
) -> None:
    ports = tuple(
        signature.Port(name, datatype, tuple(s if s > 0 else None for s in shape))
        for name, datatype, shape in shapes
    )
    assert settle.choose_metric(ports, labels) == wanted


def test_external_data_of_no_length_is_refused(tmp_path: Path) -> None:
    linear(tmp_path / "plain.onnx")
    whole = onnx.load(tmp_path / "plain.onnx")
    path = tmp_path / "m.onnx"
    onnx.save(whole, path, save_as_external_data=True, location="m.bin", size_threshold=0)
    whole = onnx.load(path, load_external_data=False)
    (entry,) = (e for e in whole.graph.initializer[0].external_data if e.key == "length")
    entry.value = "abc"
    onnx.save(whole, path)
    with pytest.raises(BadInput, match="'w' has the length 'abc', which is no number of bytes"):
        signature.read(path, tmp_path)


@pytest.mark.parametrize("shape", [[2**33], [2**33, "n"], [2**62, 2**62]])
def test_no_input_of_absurd_size_is_made_up(tmp_path: Path, shape: list[int | str]) -> None:
    with pytest.raises(BadInput, match=r"'x' .* more than the 268435456 elements.* with --data"):
        settled(identity(tmp_path / "m.onnx", FLOAT, shape))


@pytest.mark.parametrize("given", ["x", "s"])
def test_strings_and_bfloat16_cannot_both_be_carried(tmp_path: Path, given: str) -> None:
    half, text = TensorProto.BFLOAT16, TensorProto.STRING
    nodes = [node("Identity", "x", "y"), node("Identity", "s", "t")]
    ports = [[("x", half, ["n"]), ("s", text, ["n"])], [("y", half, ["n"]), ("t", text, ["n"])]]
    if given == "s":
        nodes = [node("Cast", "s", "f", to=FLOAT), node("Cast", "f", "y", to=half)]
        ports = [[("s", text, ["n"])], [("y", half, ["n"])]]
    path = write(tmp_path / "m.onnx", nodes, *ports)
    with pytest.raises(BadInput, match="has both BF16 and BYTES tensors"):
        settled(path)


def test_a_batch_that_fails_is_told_from_one_that_differs(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.onnx",
        [node("Reshape", "x one", "y")],
        [("x", FLOAT, ["n"])],
        [("y", FLOAT, ["m"])],
        {"one": np.array([1], np.int64)},
    )
    read = settled(path, Data({"x": np.arange(9, dtype=np.float32)}))
    assert "a call of 2 rows fails (the model refused these inputs" in read.remarks[-1]
