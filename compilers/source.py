"""The recipe's source module: the networks by name, the data, and hints for training them."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from compilers.datasets import Data
from compilers.digests import code_sha256, imports_of
from compilers.profiling.scoring import finite_rows
from model_repo.errors import BadInput, FareboxError, MissingExtra

if TYPE_CHECKING:
    import torch

RECIPES = "compilers.recipes."
INSTALLED = ("torch", "sklearn", "onnx", "safetensors", "torch_pruning", "scipy")


@dataclass(frozen=True)
class Source:
    """What a source module defines.

    MODELS: network name -> function that builds it, untrained, or with its weights if the recipe
    trains for 0 epochs. data: the inputs in the order `forward` takes them, and class numbers.
    OUTPUT: the name of what `forward` returns. LABELS: the names of the classes.
    augment: `(inputs, generator) -> inputs`, a tuple of tensors, applied to each training batch.
    """

    path: Path
    models: Mapping[str, Callable[[], torch.nn.Module]]
    data: Callable[[], Data]
    output: str = "output"
    labels: tuple[str, ...] = ()
    augment: Callable[[tuple[Any, ...], torch.Generator], tuple[Any, ...]] | None = None

    def check_model(self, name: str, key: str) -> None:
        """Raise BadInput, naming the recipe's `key`, unless there is such a network."""
        if name not in self.models:
            raise BadInput(
                f"{key} is {name!r}, which {self.path} does not have: its MODELS are "
                f"{', '.join(sorted(self.models)) or 'empty'}"
            )

    def build(self, name: str, seed: int) -> torch.nn.Module:
        """A fresh network, its first weights drawn from `seed`; raises BadInput if it fails."""
        import torch

        self.check_model(name, "model")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            built = _call(self.models[name], f"MODELS[{name!r}] of {self.path}")
        if not isinstance(built, torch.nn.Module):
            raise BadInput(
                f"MODELS[{name!r}] of {self.path} gives {type(built).__name__}: "
                "return a torch.nn.Module"
            )
        return built

    def read(self) -> Data:
        """The data; raises BadInput if it is not `Data` of arrays equally long and all finite."""
        data = _call(self.data, f"data() of {self.path}")
        where = f"data() of {self.path}"
        if not isinstance(data, Data):
            raise BadInput(f"{where} gives {type(data).__name__}: return a Data")
        if not isinstance(data.inputs, Mapping) or not data.inputs:
            raise BadInput(
                f"{where} gives its inputs as {data.inputs!r:.80}: give a dict of input name to "
                "NumPy array"
            )
        _check_arrays(data, where)
        _check_finite(data, where)
        return data


def _check_arrays(data: Data, where: str) -> None:
    given = dict(data.inputs)
    if data.labels is not None:
        given["labels"] = data.labels
    for name, array in given.items():
        if not isinstance(array, np.ndarray) or not array.ndim:
            raise BadInput(
                f"{where} gives {name!r} as {type(array).__name__}: give a NumPy array with one "
                "row for each sample"
            )
    lengths = {name: len(array) for name, array in given.items()}
    if len(set(lengths.values())) > 1:
        raise BadInput(f"{where} has rows {lengths}: make them equally many")


def _check_finite(data: Data, where: str) -> None:
    for name, array in data.inputs.items():
        lost = ~finite_rows(array)
        if lost.any():
            raise BadInput(
                f"{where} gives {lost.sum()} of {len(lost)} rows with NaN or infinity in {name!r}, "
                f"the first of them row {int(lost.argmax())}, counted from 0: leave such rows out, "
                "or put a number there"
            )


def sha256_of_source(path: Path) -> str:
    """The SHA-256 of a source module, which is not run; raises BadInput if it is missing.

    What it imports of recipes that ship counts as its own.
    """
    try:
        text = path.read_bytes()
        whole = hashlib.sha256(text)
        for name in sorted(set(imports_of(text))):
            if name.startswith(RECIPES):
                whole.update(code_sha256(name).encode())
        return whole.hexdigest()
    except OSError as error:
        raise BadInput(
            f"the source module {path} cannot be read ({error.strerror}): "
            "name a Python file beside the recipe under source, module"
        ) from error


def load_source(path: Path) -> Source:
    """Run the module at `path`; raises BadInput, or MissingExtra, if it cannot be used."""
    module = _run(path)
    for name in ("MODELS", "data"):
        if not hasattr(module, name):
            raise BadInput(f"the source module {path} has no {name}: define it, {NAMES[name][2]}")
    found = {name: getattr(module, name, usual) for name, (usual, _, _) in NAMES.items()}
    for name, (_, fits, kind) in NAMES.items():
        if not fits(found[name]):
            raise BadInput(
                f"the source module {path} has {name} = {found[name]!r:.80}: make it {kind}"
            )
    return Source(
        path,
        found["MODELS"],
        found["data"],
        found["OUTPUT"],
        tuple(found["LABELS"]),
        found["augment"],
    )


def _are_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)


NAMES: dict[str, tuple[Any, Callable[[Any], bool], str]] = {
    "MODELS": (
        None,
        lambda value: (
            isinstance(value, Mapping)
            and _are_names(tuple(value))
            and all(map(callable, value.values()))
        ),
        "a dict of network name to function",
    ),
    "data": (None, callable, "a function"),
    "OUTPUT": ("output", lambda value: isinstance(value, str) and bool(value), "a string"),
    "LABELS": ((), _are_names, "a tuple of strings"),
    "augment": (None, lambda value: value is None or callable(value), "a function"),
}
"""What a source module defines: its default, whether a value will do, and what will."""


def _run(path: Path) -> ModuleType:
    name = f"farebox_source_{sha256_of_source(path)[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadInput(f"the source module {path} is no Python file: give it the suffix .py")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickling look a class's module up by its name.
    sys.modules[name] = module
    _call(partial(spec.loader.exec_module, module), f"the source module {path}")
    return module


def _call(function: Callable[[], Any], what: str) -> Any:
    """Call the user's code; whatever it raises becomes one sentence."""
    try:
        return function()
    except FareboxError:
        raise
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] in INSTALLED:
            raise MissingExtra("compiling", error.name, "compile") from error
        raise BadInput(f"{what} needs {error.name!r}: install it beside farebox") from error
    except (Exception, SystemExit) as error:  # the module is the user's: it may raise anything
        reason = " ".join(str(error).split())
        raise BadInput(f"{what} raised {type(error).__name__}: {reason}") from error
