"""The gpu target writes what TensorRT takes, typed, and programs of torch: the same bytes."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import gpu_models
import numpy as np
import onnx
import onnxruntime
import pytest
from gpu_models import CNN, job
from onnx import TensorProto
from torch import nn

from compilers.forms import TorchModel
from compilers.gpu import halves
from compilers.graph import graphs
from compilers.targets import gpu
from model_repo import runtime, tensorrt_building, tensorrt_session
from model_repo.errors import BadInput, MissingExtra, Unsupported
from model_repo.tensorrt_archive import GRAPH, about, engine_name, part


@pytest.fixture
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx", reason="farebox[gpu] is not installed")


def marked(folder: Path, precision: str) -> Any:
    proto = gpu_models.cnn(folder)
    proto.metadata_props.add(key=graphs.PRECISION, value=precision)
    return proto


def answers(proto: Any, x: Any) -> Any:
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


def test_every_format_is_a_runtime_with_a_name_of_its_own() -> None:
    for name in gpu.FORMATS:
        assert runtime.load(name).device() in ("cpu", "gpu")
    assert sorted(each.suffix for each in gpu.FORMATS.values()) == ["", "rtx", "torch"]


def test_fp16_computes_in_float16_between_float32_ports(tmp_path: Path) -> None:
    right = answers(gpu_models.cnn(tmp_path), gpu_models.rows(5))
    artifact = gpu.lower(marked(tmp_path, "fp16"), "tensorrt", tmp_path, job())
    proto = onnx.load(tmp_path / artifact.path)
    onnx.checker.check_model(proto, full_check=True)
    ports = (*proto.graph.input, *proto.graph.output)
    assert {port.type.tensor_type.elem_type for port in ports} == {TensorProto.FLOAT}
    assert {item.data_type for item in proto.graph.initializer} == {TensorProto.FLOAT16}
    gap = np.abs(answers(proto, gpu_models.rows(5)) - right).max()
    assert 0 < gap < 5e-3 * np.abs(right).max()


def test_sums_and_powers_stay_in_float32(tmp_path: Path) -> None:
    proto = gpu_models.cnn(tmp_path)
    proto.graph.node[1].op_type = "Exp"
    made = onnx.shape_inference.infer_shapes(halves.to_fp16(proto))
    types = {info.name: info.type.tensor_type.elem_type for info in made.graph.value_info}
    (node,) = (node for node in made.graph.node if node.op_type == "Exp")
    assert {types[node.input[0]], types[node.output[0]]} == {TensorProto.FLOAT}
    (conv,) = (node for node in made.graph.node if node.op_type == "Conv")
    assert types[conv.output[0]] == TensorProto.FLOAT16


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt_rtx", "torch_program"])
def test_the_same_model_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    if name == "tensorrt_rtx":
        pytest.importorskip("tensorrt_rtx", reason="farebox[gpu] is not installed")
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    made = set()
    for turn in "ab":
        (tmp_path / turn).mkdir()
        model = TorchModel("n", network) if name == "torch_program" else marked(tmp_path, "fp16")
        made.add(gpu.lower(model, name, tmp_path / turn, job()).sha256)
    assert len(made) == 1


def test_engines_are_built_without_a_gpu_for_what_is_named(rtx: Any, tmp_path: Path) -> None:
    asked = job(compute_capabilities=("8.0", "8.9", "12.0"))
    artifact = gpu.lower(marked(tmp_path, "fp16"), "tensorrt_rtx", tmp_path, asked)
    path = tmp_path / artifact.path
    told = about(path)
    assert (told.tensorrt_rtx, told.capabilities) == (rtx.__version__, ("8.0", "8.9", "12.0"))
    engines = [part(path, engine_name(name)) for name in told.capabilities]
    assert all(len(engine) > 1000 for engine in engines)
    with zipfile.ZipFile(path) as file:
        assert {entry.date_time[0] for entry in file.infolist()} == {1980}
        assert len(file.namelist()) == 5
    session = runtime.load("tensorrt_rtx").open_session(path, CNN)
    right = answers(gpu_models.cnn(tmp_path), gpu_models.rows(3))
    assert session.run({"x": gpu_models.rows(3)})[0]["y"] == pytest.approx(right, abs=0.1)


@pytest.mark.parametrize(("precision", "wanted"), [("", "FLOAT"), ("fp16", "HALF")])
def test_the_library_reads_products_in_the_types_that_the_file_gives(
    rtx: Any, tmp_path: Path, precision: str, wanted: str
) -> None:
    gpu.lower(marked(tmp_path, precision), "tensorrt", tmp_path, job())
    log = tensorrt_building.logger(rtx)
    builder = rtx.Builder(log)
    data = (tmp_path / "model.onnx").read_bytes()
    network = tensorrt_building.read(rtx, builder, data, log)
    layers = [network.get_layer(place) for place in range(network.num_layers)]
    products = (rtx.LayerType.CONVOLUTION, rtx.LayerType.MATRIX_MULTIPLY)
    types = [layer.get_output(0).dtype.name for layer in layers if layer.type in products]
    assert types == [wanted, wanted]


def test_the_card_says_what_engines_are_for(rtx: Any, tmp_path: Path) -> None:
    gpu.lower(marked(tmp_path, "fp16"), "tensorrt_rtx", tmp_path, job(card="T4"))
    assert about(tmp_path / "model.rtx.zip").capabilities == ("7.5",)
    with pytest.raises(Unsupported, match=r"no engines for the H100 \(9.0\), but for 7.5, 8.0"):
        gpu.lower(gpu_models.cnn(tmp_path), "tensorrt_rtx", tmp_path, job(card="H100"))


def test_what_the_library_cannot_build_is_said_in_its_words(rtx: Any, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"'product' for Turing .*FP32 GEMM is not supported"):
        gpu.lower(gpu_models.cnn(tmp_path), "tensorrt_rtx", tmp_path, job(card="T4"))
    assert not (tmp_path / "model.rtx.zip").exists()


def test_an_unknown_compute_capability_is_refused_with_those_there_are(
    rtx: Any, tmp_path: Path
) -> None:
    asked = job(compute_capabilities=("8.9", "6.1"))
    with pytest.raises(BadInput, match=r"names '6.1', which .*choose from 7.5, 8.0, 8.6, 8.9"):
        gpu.lower(gpu_models.cnn(tmp_path), "tensorrt_rtx", tmp_path, asked)


def test_without_the_library_only_its_format_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorrt_rtx", None)
    with pytest.raises(MissingExtra, match=r"'tensorrt-rtx'.*farebox\[gpu\]"):
        gpu.lower(gpu_models.cnn(tmp_path), "tensorrt_rtx", tmp_path, job())
    assert gpu.lower(gpu_models.cnn(tmp_path), "tensorrt", tmp_path, job()).path == "model.onnx"


def test_a_graph_that_is_broken_or_not_for_gpus_is_refused(tmp_path: Path) -> None:
    proto = gpu_models.cnn(tmp_path)
    proto.graph.node[1].op_type = "NoSuchOperator"
    with pytest.raises(BadInput, match=r"no valid ONNX: .*NoSuchOperator"):
        gpu.lower(proto, "tensorrt", tmp_path, job())
    with pytest.raises(Unsupported, match="use quantize in mode fp16"):
        gpu.lower(marked(tmp_path, "bf16"), "tensorrt", tmp_path, job())
    with pytest.raises(Unsupported, match="batches of up to 128"):
        gpu.lower(gpu_models.cnn(tmp_path), "tensorrt", tmp_path, job(sizes=(1, 256)))
    assert not (tmp_path / "model.onnx").exists()


def test_an_axis_that_is_free_besides_the_batch_gets_no_engine(rtx: Any, tmp_path: Path) -> None:
    proto = gpu_models.cnn(tmp_path)
    del proto.graph.node[2:]
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    proto.graph.node[1].output[0] = "y"
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    library = tensorrt_session.load("tensorrt_rtx")
    capability = next(iter(gpu.engines.known(library).values()))
    with pytest.raises(Unsupported, match="has a free axis besides the batch"):
        tensorrt_building.build(library, proto.SerializeToString(), capability)
    assert GRAPH == "model.onnx"


def test_fewer_bits_may_differ_by_more() -> None:
    told = {
        precision: gpu.tolerance("torch_program", gpu.Options(precision=precision))  # type: ignore[arg-type]
        for precision in ("fp32", "tf32", "fp16", "bf16")
    }
    assert told["fp32"] == 0 < told["tf32"] <= told["fp16"] < told["bf16"]
    assert gpu.tolerance("tensorrt", gpu.Options(precision="bf16")) == told["tf32"]
