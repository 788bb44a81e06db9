"""Variants become model directories that Triton's own schema reads, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gpu_models
import pytest
import shelf
from google.protobuf import text_format
from msgspec.structs import replace
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelInstanceGroup

from compilers.targets import gpu
from model_repo.cli import main
from model_repo.exports import triton
from model_repo.records import LatencyPoint, Model, PassStep, TensorSpec, Variant, VariantKey
from model_repo.store import Store, describe

LABELS = tuple("0123456789")
SIGNATURE = Model(
    "digits",
    "3",
    (TensorSpec("x", "FP32", (-1, 1, 8, 8)),),
    (TensorSpec("y", "FP32", (-1, 10)),),
    True,
    "accuracy",
    "y",
    LABELS,
)


def put(
    store: Store, name: str, target: str, form: str, file: Path, *modes: str, **changed: Any
) -> Variant:
    """Shelve a file as a variant of the digits."""
    steps = tuple(PassStep("quantize", {"mode": mode}) for mode in modes)
    key = VariantKey("digits", "3", name)
    told = replace(shelf.profile(), **changed)
    made = Variant(key, "variant", target, describe(file, form), told, steps)
    store.commit_model(SIGNATURE)
    store.commit(made, file)
    return made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A cpu and a gpu variant of one graph, and one that Triton has no backend for."""
    made = Store(tmp_path / "models")
    folder = tmp_path / "made"
    folder.mkdir()
    gpu.lower(gpu_models.cnn(folder), "tensorrt", folder, gpu_models.job())
    put(made, "cpu-fp32", "cpu", "onnx_graph", folder / "model.onnx")
    put(made, "gpu-fp16", "gpu", "tensorrt", folder / "model.onnx", "fp16")
    (folder / "times.json").write_text("{}")
    put(made, "cpu-null", "cpu", "null", folder / "times.json")
    return made


def export(store: Store, name: str, out: Path) -> int:
    return main(
        ["export", name, "--to", "triton", "--out", str(out), "--repository", str(store.root)]
    )


def config(folder: Path) -> Any:
    return text_format.Parse((folder / "config.pbtxt").read_text(), ModelConfig())


def test_a_gpu_variant_is_what_triton_serves(store: Store, tmp_path: Path) -> None:
    assert export(store, "digits/3/gpu-fp16", tmp_path / "out") == 0
    folder = tmp_path / "out" / "digits-gpu-fp16"
    files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert files == ["3/model.onnx", "config.pbtxt", "labels.txt"]
    assert (folder / "labels.txt").read_text().split() == list(LABELS)
    shelved = store.artifact(store.variant(VariantKey("digits", "3", "gpu-fp16")))
    assert (folder / "3" / "model.onnx").read_bytes() == shelved.read_bytes()
    made = config(folder)
    assert (made.name, made.backend) == ("digits-gpu-fp16", "onnxruntime")
    assert made.max_batch_size == 10
    (given,), (answer,) = made.input, made.output
    assert (given.name, given.data_type, list(given.dims)) == ("x", DataType.TYPE_FP32, [1, 8, 8])
    assert (answer.name, list(answer.dims), answer.label_filename) == ("y", [10], "labels.txt")
    (group,) = made.instance_group
    assert (group.kind, group.count) == (ModelInstanceGroup.KIND_GPU, 1)
    assert list(made.dynamic_batching.preferred_batch_size) == [10]
    assert made.dynamic_batching.max_queue_delay_microseconds == 500
    (accelerator,) = made.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt" and accelerator.parameters["precision_mode"] == "FP16"


def test_a_cpu_variant_stays_on_cpus(store: Store, tmp_path: Path) -> None:
    assert export(store, "digits/3/cpu-fp32", tmp_path / "out") == 0
    made = config(tmp_path / "out" / "digits-cpu-fp32")
    assert made.instance_group[0].kind == ModelInstanceGroup.KIND_CPU
    assert not made.HasField("optimization")


@pytest.mark.parametrize(
    ("modes", "precision"),
    [((), None), (("symmetric",), "INT8"), (("symmetric", "fp16"), "no TensorRT")],
)
def test_the_accelerator_computes_as_the_variant_was_quantized(
    store: Store, tmp_path: Path, modes: tuple[str, ...], precision: str | None
) -> None:
    file = tmp_path / "made" / "model.onnx"
    made = put(store, "gpu-other", "gpu", "tensorrt", file, *modes)
    found = triton.config("n", made, SIGNATURE).optimization.execution_accelerators
    accelerators = list(found.gpu_execution_accelerator)
    if precision == "no TensorRT":
        assert not accelerators
    else:
        assert accelerators[0].parameters.get("precision_mode") == precision


def test_of_a_model_all_that_triton_runs_is_written(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(store, "digits", tmp_path / "out") == 0
    told = capsys.readouterr()
    assert told.out.count("wrote ") == 2
    assert "digits/3/cpu-null is a null artifact, which Triton runs none of" in told.err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "digits-cpu-fp32",
        "digits-gpu-fp16",
    ]


def test_engines_and_programs_come_with_what_triton_runs(store: Store, tmp_path: Path) -> None:
    import torch

    from compilers.forms import TorchModel

    folder = tmp_path / "made"
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    gpu.lower(TorchModel("n", network), "torch_program", folder, gpu_models.job())
    put(store, "gpu-torch", "gpu", "torch_program", folder / "model.pt2")
    assert export(store, "digits/3/gpu-torch", tmp_path / "out") == 0
    made = config(tmp_path / "out" / "digits-gpu-torch")
    assert (made.backend, made.default_model_filename) == ("python", "model.py")
    there = {p.name for p in (tmp_path / "out" / "digits-gpu-torch" / "3").iterdir()}
    assert there == {"model.py", "model.pt2"}
    pytest.importorskip("tensorrt_rtx", reason="farebox[gpu] is not installed")
    gpu.lower(gpu_models.cnn(folder), "tensorrt_rtx", folder, gpu_models.job())
    put(store, "gpu-rtx", "gpu", "tensorrt_rtx", folder / "model.rtx.zip")
    assert export(store, "digits/3/gpu-rtx", tmp_path / "out") == 0
    graph = tmp_path / "out" / "digits-gpu-rtx" / "3" / "model.onnx"
    assert graph.read_bytes() == (folder / "model.onnx").read_bytes()


def test_nothing_is_overwritten_and_nothing_left_half_done(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    out = tmp_path / "out"
    assert export(store, "digits/3/gpu-fp16", out) == 0
    before = (out / "digits-gpu-fp16" / "config.pbtxt").stat().st_mtime_ns
    assert export(store, "digits/3/gpu-fp16", out) == 2
    assert "is there already: remove it, or name another folder" in capsys.readouterr().err
    assert (out / "digits-gpu-fp16" / "config.pbtxt").stat().st_mtime_ns == before

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(triton.shutil, "move", fail)
    assert export(store, "digits/3/cpu-fp32", out) == 1
    assert [path.name for path in out.iterdir()] == ["digits-gpu-fp16"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("digits/3/cpu-null", "which Triton runs none of: export one of onnx_graph"),
        ("digits/3/gpu-int8", "there is no digits/3/gpu-int8"),
        ("letters", "there is no letters"),
        ("digits//gpu", "is no name: write MODEL"),
    ],
)
def test_what_cannot_be_written_is_said(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, reason: str
) -> None:
    assert export(store, name, tmp_path / "out") in (1, 2)
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_several_versions_are_asked_for_by_name(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf.shelve(store, "cpu-fp32", version="4")
    assert export(store, "digits", tmp_path / "out") == 2
    assert "digits has the versions 3, 4: name one of them" in capsys.readouterr().err


def test_a_changed_artifact_is_not_exported(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = store.folder(VariantKey("digits", "3", "gpu-fp16")) / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert export(store, "digits/3/gpu-fp16", tmp_path / "out") == 2
    assert "its SHA-256 differs" in capsys.readouterr().err


def test_a_scalar_for_each_row_is_reshaped_and_strings_are_strings(store: Store) -> None:
    odd = Model(
        "digits",
        "3",
        (TensorSpec("text", "BYTES", (-1,)),),
        (TensorSpec("y", "INT64", (-1, -1)),),
        True,
    )
    variant = store.variant(VariantKey("digits", "3", "cpu-fp32"))
    made = triton.config("n", variant, odd)
    assert (made.input[0].data_type, list(made.input[0].dims)) == (DataType.TYPE_STRING, [1])
    assert made.input[0].HasField("reshape") and not made.input[0].reshape.shape
    assert list(made.output[0].dims) == [-1] and not made.output[0].HasField("reshape")
    whole = triton.config("n", variant, replace(odd, batches=False))
    assert (whole.max_batch_size, list(whole.input[0].dims)) == (0, [-1])
    assert not whole.HasField("dynamic_batching")


def test_batches_are_preferred_that_are_cheaper_than_all_smaller_ones() -> None:
    points = [(1, 1.0), (2, 1.5), (4, 3.2), (8, 4.0), (16, 9.0)]
    latency = tuple(LatencyPoint(n, s, s, s, s, 1) for n, s in points)
    assert triton.preferred(latency) == [2, 8]
