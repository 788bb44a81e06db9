"""A network as exact fixed-point maths on NumPy arrays, the same function on symbolic ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from model_repo import durable
from model_repo.errors import BadInput
from model_repo.rtl import Fraction
from model_repo.tensors import Array

NUMBERS, NETWORK = "fixed.safetensors", "fixed.json"
ROWS = 256


class Affine(msgspec.Struct, frozen=True, eq=False):
    """y[c, p] = sum over k of weights[k, c] x[taps[p, k]] + bias[c], y flat, channel by channel.

    weights [k, c], bias [c], taps [p, k]: which value of the flat x each weight meets, -1 for the
    zeros around an image. A dense layer has one place p, a convolution one for each pixel.
    """

    weights: Array
    bias: Array
    taps: Array


class Largest(msgspec.Struct, frozen=True, eq=False):
    """y[p] = the largest of x[taps[p, k]] over k; taps [p, k]."""

    taps: Array


class Rectify(msgspec.Struct, frozen=True, eq=False):
    """ReLU into an unsigned number of `bits` bits, `fraction` of them behind the point: what lies
    above saturates, what lies below the last bit is cut off."""

    bits: int
    fraction: int


Layer = Affine | Largest | Rectify
KINDS: dict[str, type[Any]] = {"affine": Affine, "largest": Largest, "rectify": Rectify}


@dataclass(frozen=True, eq=False)
class FixedModel:
    """A chain of layers from one input to one output, in multiples of powers of two all through.

    shape: of one input row. format: what the input is rounded to. examples: codes of some real
    rows [n, values], as `format` writes them, with which a circuit can be tried.
    """

    input_name: str
    output_name: str
    shape: tuple[int, ...]
    format: Fraction
    layers: tuple[Layer, ...]
    examples: Array = field(default_factory=lambda: np.zeros((0, 0), np.int64))

    def run(self, inputs: Mapping[str, Array]) -> Array:
        """The answers [n, values] in FP32; raises BadInput for rows of another shape."""
        rows = inputs[self.input_name]
        if rows.shape[1:] != self.shape:
            raise BadInput(
                f"the input {self.input_name!r} has rows of {list(rows.shape[1:])}, and the "
                f"fixed-point network takes {list(self.shape)}"
            )
        values = self.format.values(self.format.codes(rows.reshape(len(rows), -1)))
        parts = [self.compute(values[i : i + ROWS]) for i in range(0, len(values), ROWS)]
        return np.concatenate(parts).astype(np.float32)

    def compute(self, values: Any) -> Any:
        """The answers [..., values] to rounded rows [..., values], NumPy's or symbolic ones."""
        for layer in self.layers:
            values = apply(layer, values)
        return values


def apply(layer: Layer, values: Any) -> Any:
    """One layer, on float64 values [..., n] or on da4ml's symbolic ones [n]."""
    if isinstance(layer, Rectify):
        return _rectified(layer, values)
    if isinstance(layer, Largest):
        best = values[..., layer.taps[:, 0]]
        for column in layer.taps.T[1:]:
            best = np.maximum(best, values[..., column])
        return best
    answers = []
    for tap in layer.taps:
        seen = tap >= 0
        answers.append(values[..., tap[seen]] @ layer.weights[seen] + layer.bias)
    stacked = np.stack(answers, axis=-1)
    return stacked.reshape(*values.shape[:-1], stacked.shape[-2] * stacked.shape[-1])


def _rectified(layer: Rectify, values: Any) -> Any:
    whole = layer.bits - layer.fraction
    if hasattr(values, "quantize"):
        return values.quantize(0, whole, layer.fraction, "SAT", "TRN")
    codes = np.floor(np.ldexp(values, layer.fraction))
    return np.ldexp(np.clip(codes, 0, 2**layer.bits - 1), -layer.fraction)


class Written(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the JSON beside the numbers says; layers: kind and, for `rectify`, its numbers."""

    input_name: str
    output_name: str
    shape: tuple[int, ...]
    format: Fraction
    layers: tuple[tuple[str, dict[str, int]], ...]


def save(model: FixedModel, folder: Path) -> None:
    """Write the numbers as safetensors, the rest as JSON, into `folder`: same model, same bytes."""
    from safetensors.numpy import save_file

    layers, arrays = [], {"examples": np.ascontiguousarray(model.examples)}
    for number, layer in enumerate(model.layers):
        kind = next(name for name, each in KINDS.items() if isinstance(layer, each))
        fields = msgspec.structs.asdict(layer)
        layers.append((kind, {k: v for k, v in fields.items() if isinstance(v, int)}))
        for name, value in fields.items():
            if isinstance(value, np.ndarray):
                arrays[f"{number}.{name}"] = np.ascontiguousarray(value)
    save_file(arrays, folder / NUMBERS)
    facts = Written(model.input_name, model.output_name, model.shape, model.format, tuple(layers))
    durable.write(folder / NETWORK, facts)


def load(folder: Path) -> FixedModel:
    """The model that `save` left in `folder`; raises Corrupt if it cannot be read."""
    from safetensors.numpy import load_file

    facts = durable.read(folder / NETWORK, Written)
    arrays = load_file(folder / NUMBERS)
    layers = []
    for number, (kind, numbers) in enumerate(facts.layers):
        own = {
            name.partition(".")[2]: array
            for name, array in arrays.items()
            if name.startswith(f"{number}.")
        }
        layers.append(KINDS[kind](**own, **numbers))
    return FixedModel(
        facts.input_name,
        facts.output_name,
        facts.shape,
        facts.format,
        tuple(layers),
        arrays["examples"],
    )


def is_saved(folder: Path) -> bool:
    """Whether `folder` holds a fixed-point network."""
    return (folder / NETWORK).exists()
