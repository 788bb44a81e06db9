"""Exports a torch network as one program file that holds numbers and a graph, and no pickle."""

from __future__ import annotations

import copy
import io
import json
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from compilers.forms import TorchModel
from compilers.gpu import archive
from compilers.graph import tracing
from model_repo.errors import Unsupported
from model_repo.program_archive import MODEL, ROOT, SAMPLES, SETTINGS, Settings, read_settings
from model_repo.records import Model
from model_repo.tensors import DTYPES

if TYPE_CHECKING:
    import torch

EXAMPLES = 2  # with one row torch would take the batch axis for a constant 1


def write(model: TorchModel, signature: Model, settings: Settings, path: Path) -> None:
    """Write `model` with a free batch axis; the same model gives the same bytes.

    Raises Unsupported for networks that torch.export cannot follow, and for operators of others.
    """
    exported = _export(model, signature, settings)
    packed = io.BytesIO()
    import torch

    torch.export.save(exported, packed)
    archive.write(path, {ROOT + name: data for name, data in _cleaned(packed, settings).items()})
    try:
        read_settings(path)
    except Exception as error:
        path.unlink()
        reason = str(error).removeprefix(f"{path} ")
        raise Unsupported(f"the network cannot be kept as a plain program: it {reason}") from error


def _export(model: TorchModel, signature: Model, settings: Settings) -> Any:
    import torch

    example = tuple(_example(spec.datatype, spec.shape) for spec in signature.inputs)
    batch = torch.export.Dim("batch", min=1)
    try:
        with warnings.catch_warnings(), tracing.quiet():
            # torch.export calls a function of its own that it has deprecated.
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec", FutureWarning)
            exported = torch.export.export(
                _typed(model.module, settings.precision),
                example,
                dynamic_shapes={"inputs": tuple({0: batch} for _ in example)},
            )
    except Exception as error:  # the exporter wraps whatever the network's own code may raise
        reason = tracing.refusal(error)
        raise Unsupported(
            f"torch.export cannot follow the network {model.network!r}: {reason}"
        ) from error
    _drop_assertions(exported.graph_module)
    return exported


def _example(datatype: str, shape: tuple[int, ...]) -> torch.Tensor:
    import numpy as np
    import torch

    if datatype not in DTYPES or datatype in ("BYTES", "BF16"):
        raise Unsupported(f"a torch program takes no {datatype} tensors")
    sizes = [EXAMPLES if size < 0 else size for size in shape]
    return torch.from_numpy(np.zeros(sizes, DTYPES[datatype]))


def _typed(module: torch.nn.Module, precision: str) -> torch.nn.Module:
    """The network in the precision's own type between inputs and outputs as they were."""
    import torch

    class Typed(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module, dtype: torch.dtype) -> None:
            super().__init__()
            self.inner = inner.to(dtype)
            self.dtype = dtype

        def forward(self, *inputs: torch.Tensor) -> Any:
            if self.dtype == torch.float32:
                return self.inner(*inputs)
            given = (x.to(self.dtype) if x.dtype == torch.float32 else x for x in inputs)
            return self.inner(*given).to(torch.float32)

    types = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return Typed(copy.deepcopy(module), types.get(precision, torch.float32)).eval()


def _drop_assertions(module: Any) -> None:
    """Remove checks that every tensor is on the device that the export ran on."""
    for node in list(module.graph.nodes):
        if "_assert_tensor_metadata" in str(node.target):
            module.graph.erase_node(node)
    module.recompile()


def _cleaned(packed: io.BytesIO, settings: Settings) -> dict[str, bytes]:
    """The files of torch's own archive without pickles, source paths, and what is drawn anew."""
    with zipfile.ZipFile(packed) as file:
        parts = {name.partition("/")[2]: file.read(name) for name in file.namelist()}
    parts.pop(".data/serialization_id", None)
    parts[SAMPLES] = b""
    program = json.loads(parts[MODEL])
    program["guards_code"] = []  # sizes are checked by the signature
    program["graph_module"]["metadata"] = {}
    for node in program["graph_module"]["graph"]["nodes"]:
        node["metadata"] = {}
    parts[MODEL] = json.dumps(program).encode()
    parts[SETTINGS] = msgspec.json.encode(settings)
    return parts
