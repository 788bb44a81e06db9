"""The forms a model takes while it is compiled, and how a step keeps each in its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, json

from compilers.fpga import fixed
from compilers.fpga.fixed import FixedModel
from compilers.graph import graphs
from compilers.source import Source
from compilers.training.resize import load_resized

if TYPE_CHECKING:
    from torch import nn

WEIGHTS, GRAPH, FACTS = "weights.safetensors", "model.onnx", "step.json"


@dataclass(frozen=True)
class TorchModel:
    """A network of the source module, by name, with weights of its own."""

    network: str
    module: nn.Module


class Facts(Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of a model beside its weights: the notes of all steps so far."""

    notes: dict[str, float | str] = {}
    network: str = ""


def save(model: Any, notes: dict[str, float | str], folder: Path) -> None:
    """Write a model of any form, and its notes, into `folder`."""
    network = ""
    if isinstance(model, TorchModel):
        from safetensors.torch import save_file

        # Copied, since the format refuses tensors that share memory (tied weights).
        state = {k: v.detach().clone().contiguous() for k, v in model.module.state_dict().items()}
        save_file(state, folder / WEIGHTS)
        network = model.network
    elif isinstance(model, FixedModel):
        fixed.save(model, folder)
    else:
        graphs.write(model, folder / GRAPH)
    (folder / FACTS).write_bytes(json.encode(Facts(notes, network)))


def facts(folder: Path) -> Facts:
    """What a step noted."""
    return json.decode((folder / FACTS).read_bytes(), type=Facts)


def load(folder: Path, source: Source, seed: int) -> Any:
    """The model a step left in `folder`; a TorchModel is in eval mode."""
    if fixed.is_saved(folder):
        return fixed.load(folder)
    if not (folder / WEIGHTS).exists():
        import onnx

        return onnx.load(folder / GRAPH)
    from safetensors.torch import load_file

    network = facts(folder).network
    module = source.build(network, seed)
    load_resized(module, load_file(folder / WEIGHTS))
    return TorchModel(network, module.eval())
