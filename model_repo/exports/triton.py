"""Writes a variant as a model directory of NVIDIA Triton: config.pbtxt, artifact, labels."""

from __future__ import annotations

import shutil
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

from model_repo.errors import BadInput, Unsupported
from model_repo.records import LatencyPoint, Model, TensorSpec, Variant
from model_repo.store import Store
from model_repo.tensorrt_archive import GRAPH, part

ONNX, PYTHON = "onnxruntime", "python"
BACKENDS = {
    "onnx_graph": ONNX,
    "tensorrt": ONNX,
    "tensorrt_rtx": ONNX,
    "torch_program": PYTHON,
}
"""Artifact format -> Triton's backend. Engines of TensorRT for RTX are not Triton's: it builds its
own of the ONNX file that lies beside them."""
DATATYPES = {"BYTES": "STRING"}
LABELS = "labels.txt"
WORKSPACE_BYTES = 2**30


def write(store: Store, variant: Variant, model: Model, out: Path) -> Path:
    """The folder MODEL-VARIANT, whole or not at all; a numeric version is Triton's version.

    Raises Unsupported for artifacts that Triton has no backend for, BadInput if the folder is
    there already, and Corrupt if the artifact is not what was shelved.
    """
    if variant.artifact.format not in BACKENDS:
        raise Unsupported(
            f"{variant.key} is a {variant.artifact.format} artifact, which Triton runs none of: "
            f"export one of {', '.join(BACKENDS)}"
        )
    name = f"{variant.key.model}-{variant.key.variant}"
    place = out / name
    if place.exists():
        raise BadInput(f"{place} is there already: remove it, or name another folder with --out")
    files = _files(store, variant, model)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".farebox-") as partial:
        folder = Path(partial, name)
        for path, data in {**files, "config.pbtxt": _text(config(name, variant, model))}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        shutil.move(folder, place)
    return place


def _files(store: Store, variant: Variant, model: Model) -> dict[str, bytes]:
    """What lies beside config.pbtxt, by its path in the folder."""
    version = variant.key.version if variant.key.version.isdigit() else "1"
    artifact = store.artifact(variant)
    files = {}
    if BACKENDS[variant.artifact.format] == PYTHON:
        code = resources.files("model_repo").joinpath("triton_program.py")
        files[f"{version}/model.pt2"] = artifact.read_bytes()
        files[f"{version}/model.py"] = code.read_bytes()
    elif variant.artifact.format == "tensorrt_rtx":
        files[f"{version}/model.onnx"] = part(artifact, GRAPH)
    else:
        files[f"{version}/model.onnx"] = artifact.read_bytes()
    if model.labels:
        files[LABELS] = "".join(f"{label}\n" for label in model.labels).encode()
    return files


def config(name: str, variant: Variant, model: Model) -> Any:
    """Triton's ModelConfig of a variant, a protobuf message."""
    from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

    made = ModelConfig(name=name, backend=BACKENDS[variant.artifact.format])
    made.default_model_filename = "model.py" if made.backend == PYTHON else "model.onnx"
    made.max_batch_size = variant.profile.largest_batch if model.batches else 0
    for ports, specs in ((made.input, model.inputs), (made.output, model.outputs)):
        for spec in specs:
            _describe(ports.add(), spec, model.batches)
    for port in made.output:
        if model.labels and port.name == model.scored_output:
            port.label_filename = LABELS
    is_gpu = variant.target == "gpu"
    kind = ModelInstanceGroup.KIND_GPU if is_gpu else ModelInstanceGroup.KIND_CPU
    made.instance_group.add(count=1, kind=kind)
    if made.max_batch_size > 1:
        made.dynamic_batching.preferred_batch_size.extend(preferred(variant.profile.latency))
        lone_s = variant.profile.latency[0].p50_s
        made.dynamic_batching.max_queue_delay_microseconds = round(lone_s * 1e6)
    if is_gpu and made.backend == ONNX:
        _accelerate(made, variant)
    return made


def preferred(latency: tuple[LatencyPoint, ...]) -> list[int]:
    """The batch sizes over 1 that cost less device time an item than every smaller one."""
    found, least = [], float("inf")
    for point in latency:
        each_s = point.device_s / point.batch_size
        if each_s < least:
            least = each_s
            found.append(point.batch_size)
    return [size for size in found if size > 1]


def _describe(port: Any, spec: TensorSpec, batches: bool) -> None:
    """Name, type and sizes, without the batch axis; what has no other is a [1] made of []."""
    from tritonclient.grpc.model_config_pb2 import DataType

    port.name = spec.name
    port.data_type = DataType.Value(f"TYPE_{DATATYPES.get(spec.datatype, spec.datatype)}")
    sizes = spec.shape[1:] if batches else spec.shape
    port.dims.extend(sizes or (1,))
    if not sizes:
        port.reshape.SetInParent()


def _accelerate(made: Any, variant: Variant) -> None:
    """Let ONNX Runtime hand the graph to TensorRT in the precision that it was quantized to.

    One in int8 and fp16 stays with CUDA: Triton takes one `precision_mode`, and it needs both.
    """
    modes = {step.options.get("mode") for step in variant.steps if step.name == "quantize"}
    if {"symmetric", "fp16"} <= modes:
        return
    parameters = {"max_workspace_size_bytes": str(WORKSPACE_BYTES)}
    if "symmetric" in modes:
        parameters["precision_mode"] = "INT8"
    elif "fp16" in modes:
        parameters["precision_mode"] = "FP16"
    chosen = made.optimization.execution_accelerators.gpu_execution_accelerator.add(name="tensorrt")
    chosen.parameters.update(parameters)


def _text(made: Any) -> bytes:
    from google.protobuf import text_format

    return text_format.MessageToString(made).encode()
