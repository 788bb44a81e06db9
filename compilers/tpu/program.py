"""Writes a function of jax arrays as one StableHLO program, the same bytes every time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from model_repo.errors import FareboxError, Unsupported, in_one_line
from model_repo.jax_loading import load_jax
from model_repo.records import Model, TensorSpec
from model_repo.runtimes.stablehlo import NARROW
from model_repo.tensors import dtype_of

PLATFORMS = ("cpu", "tpu", "cuda")
FILE = "model.stablehlo"
PRECISION = "highest"
"""How products of fp32 are computed: a TPU would otherwise round what they take to bf16."""
_REFUSED = {"BYTES": "strings", "FP64": "numbers of 64 bits in floating point", "FP16": "fp16"}
BATCH = "batch"

Function = Callable[[Mapping[str, Any]], dict[str, Any]]


def write(function: Function, signature: Model, path: Path) -> None:
    """Trace `function`, inputs by name to outputs by name, and write it with its weights.

    The batch axis stays free, from 1 on. Raises Unsupported for a signature that it cannot have,
    and for what cannot be traced.
    """
    jax = load_jax()
    avals = _arguments(jax, signature)

    def forward(inputs: Mapping[str, Any]) -> dict[str, Any]:
        return function(inputs)

    try:
        with _unplaced(jax), jax.default_matmul_precision(PRECISION):
            exported = jax.export.export(jax.jit(forward), platforms=PLATFORMS)(avals)
    except FareboxError:
        raise
    except Exception as error:  # tracing raises whatever the network's own operators may raise
        raise Unsupported(f"the model cannot be traced for a TPU: {in_one_line(error)}") from error
    _check_outputs(exported, signature)
    path.write_bytes(bytes(exported.serialize()))


def _arguments(jax: Any, signature: Model) -> dict[str, Any]:
    """What stands for each input while the function is traced."""
    (batch,) = jax.export.symbolic_shape(BATCH)
    found = {}
    for spec in signature.inputs:
        _check(spec)
        shape = tuple(batch if size == -1 else size for size in spec.shape)
        found[spec.name] = jax.ShapeDtypeStruct(shape, dtype(spec))
    return found


def dtype(spec: TensorSpec) -> np.dtype[Any]:
    """What a tensor is inside of a program."""
    return NARROW.get(spec.datatype, dtype_of(spec.datatype, spec.name))


def _check(spec: TensorSpec) -> None:
    if spec.datatype in _REFUSED:
        raise Unsupported(
            f"tensor {spec.name!r} holds {_REFUSED[spec.datatype]}, which a TPU does not compute "
            "with: make it FP32 or BF16 in the model"
        )
    if -1 in spec.shape[1:]:
        raise Unsupported(
            f"tensor {spec.name!r} has the shape {list(spec.shape)}: only the batch axis may be "
            "free in a program for a TPU, so give the others a size"
        )


def _check_outputs(exported: Any, signature: Model) -> None:
    given = exported.out_tree.unflatten(exported.out_avals)
    for spec in signature.outputs:
        _check(spec)
        found = given[spec.name]
        if found.dtype != dtype(spec) or len(found.shape) != len(spec.shape):
            raise Unsupported(
                f"the output {spec.name!r} came out as {found}, and the signature says "
                f"{spec.datatype} {list(spec.shape)}"
            )


@contextlib.contextmanager
def _unplaced(jax: Any) -> Iterator[None]:
    """Without the paths of the sources that made each operation, which bytes would depend on."""
    name = "jax_traceback_in_locations_limit"
    before = getattr(jax.config, name)
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, before)
