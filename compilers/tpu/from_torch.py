"""Turns a torch network into a function of jax arrays: torch.export, then torchax."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import files
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from compilers.graph import tracing
from compilers.quiet import hushed
from compilers.tpu.program import BATCH, Function
from model_repo.errors import MissingExtra, Unsupported, in_one_line
from model_repo.jax_loading import load_jax
from model_repo.records import Model
from model_repo.tensors import dtype_of

if TYPE_CHECKING:
    import torch

LIBRARIES = ("torch", "torchax")
_EXAMPLES = 2  # with one row torch.export would take the batch axis for a constant 1


def to_function(module: torch.nn.Module, signature: Model) -> Function:
    """`module`, in eval mode, as a function of named jax arrays.

    Raises Unsupported, with torch's or torchax's reason, for a network whose way depends on its
    data or that computes what torchax has no words for.
    """
    exported_to_jax = _load_torchax()
    program = _exported(module, signature)
    try:
        with warnings.catch_warnings(), hushed("torchax"):
            _filter()
            weights, function = exported_to_jax(program)
    except Exception as error:  # torchax raises anything on what it does not know
        raise Unsupported(_refusal(error, program)) from error

    def compute(inputs: Mapping[str, Any]) -> dict[str, Any]:
        given = tuple(inputs[spec.name] for spec in signature.inputs)
        try:
            with warnings.catch_warnings():
                _filter()
                answers = function(weights, given)
        except Exception as error:  # torchax raises anything on what it does not know
            raise Unsupported(_refusal(error, program)) from error
        names = [spec.name for spec in signature.outputs]
        return dict(zip(names, answers, strict=True))

    return compute


def _exported(module: torch.nn.Module, signature: Model) -> Any:
    import torch

    batch = torch.export.Dim(BATCH, min=1)
    example, free = [], []
    for spec in signature.inputs:
        numbers = torch.empty(0, dtype=getattr(torch, dtype_of(spec.datatype, spec.name).name))
        shape = [_EXAMPLES if size == -1 else size for size in spec.shape]
        example.append(torch.zeros(shape, dtype=numbers.dtype))
        free.append({axis: batch for axis, size in enumerate(spec.shape) if size == -1})
    try:
        with warnings.catch_warnings(), tracing.quiet():
            _filter()
            return torch.export.export(module.eval(), tuple(example), dynamic_shapes=tuple(free))
    except Exception as error:  # torch.export wraps whatever the network's own code may raise
        reason = tracing.refusal(error)
        raise Unsupported(f"torch.export cannot follow the network: {reason}") from error


def _filter() -> None:
    # torch and torchax call what torch and jax have deprecated.
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    # Whole numbers of 64 bits become 32, as they are on a TPU.
    warnings.filterwarnings("ignore", "(?s).*requested dtype", UserWarning)


def _refusal(error: Exception, program: Any) -> str:
    if operator := tracing.operator_of(error):
        place = tracing.place_of(operator, program)
        return f"torchax has no words for torch's {operator}{place}; take another operator"
    return f"torchax cannot turn the network into a program for a TPU: {in_one_line(error)}"


@cache
def _load_torchax() -> Any:
    """Its converter, with torch made to look as it did when torchax was written."""
    if find_spec("torchax") is None:
        raise MissingExtra("compiling torch networks for a TPU", "torchax", "tpu")
    jax = load_jax()
    import torch

    _alias_overloads(torch)
    with warnings.catch_warnings():
        _filter()
        export: Any = import_module("torchax.export")
        registry: Any = import_module("torchax.ops.ops_registry")
    # It tells torch of an accelerator named jax, which dynamo would ask for a stream of its own
    # wherever another network is followed in this process.
    torch.jax.is_available = lambda: False  # type: ignore[attr-defined]

    int8_product = functools.partial(jax.lax.dot, preferred_element_type=jax.numpy.int32)
    registry.register_torch_dispatch_op(torch.ops.aten._int_mm, int8_product)
    return export.exported_program_to_jax


def _alias_overloads(torch: Any) -> None:
    # torchax names some that torch has dropped since, and would fail as it is imported.
    parts = [file.read_text() for file in files("torchax") or () if file.suffix == ".py"]
    for name, overload in re.findall(r"torch\.ops\.aten\.(\w+)\.(\w+)", "".join(parts)):
        operator = getattr(torch.ops.aten, name)
        if not hasattr(operator, overload):
            setattr(operator, overload, getattr(operator, operator.overloads()[0]))
