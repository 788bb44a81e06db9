"""An ONNX graph as a function of jax arrays, walked node by node while jax traces it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from compilers.graph import graphs
from compilers.tpu.onnx import coverage
from compilers.tpu.program import Function, dtype
from model_repo import plugins
from model_repo.errors import FareboxError, Unsupported, in_one_line
from model_repo.records import Model

_FAMILIES = (
    *("activations", "convolutions", "elementwise", "indexing", "norms", "pooling", "products"),
    *("quantizing", "reductions", "resizing", "shaping"),
)


@cache
def operators() -> Mapping[str, Any]:
    """All families in one table: the name of an operator, and what computes it."""
    package = __name__.rpartition(".")[0]
    found: dict[str, Any] = {}
    for family in _FAMILIES:
        found |= plugins.load(package, family).OPERATORS
    return found


def to_function(proto: Any, signature: Model) -> Function:
    """An onnx.ModelProto as a function of named jax arrays, in bf16 if it is marked so.

    Raises Unsupported, naming them all with their layers, for operators without words, and for a
    way that depends on the data; BadInput for what is no valid ONNX.
    """
    graph = coverage.ready(proto, operators())
    is_bf16 = graphs.precision(proto) == "bf16"

    def compute(inputs: Mapping[str, Any]) -> dict[str, Any]:
        found = Walk(graph, is_bf16).run(inputs)
        return {spec.name: found[spec.name].astype(dtype(spec)) for spec in signature.outputs}

    return compute


class Walk:
    """One trace through a graph: what each tensor is, by name.

    With is_bf16 all that the graph calls fp32 is bf16, but inside of what sums many numbers.
    """

    def __init__(self, proto: Any, is_bf16: bool) -> None:
        from onnx import numpy_helper

        self._graph = proto.graph
        self._version = max(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx"))
        self._is_bf16 = is_bf16
        self._arrays: dict[int, tuple[Any, Any]] = {}
        items = proto.graph.initializer
        self._values: dict[str, Any] = {item.name: numpy_helper.to_array(item) for item in items}

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The outputs by name, as arrays."""
        self._values |= {name: self._lowered(array) for name, array in inputs.items()}
        for node in self._graph.node:
            try:
                found = self._outputs(node)
            except FareboxError as error:
                raise Unsupported(f"{_named(node)}: {error}") from error
            except Exception as error:  # jax raises anything on shapes and types it cannot take
                raise Unsupported(
                    f"{_named(node)} cannot be traced: {in_one_line(error)}"
                ) from error
            self._values |= dict(zip(node.output, found, strict=False))
        return {item.name: self._array(self._values[item.name]) for item in self._graph.output}

    def _outputs(self, node: Any) -> list[Any]:
        from compilers.tpu.onnx import constants, sizes, values
        from compilers.tpu.onnx.call import Call

        if node.op_type == "Constant":
            return [constants.value_of(node)]
        given = [self._values[name] if name else None for name in node.input]
        call = Call(node, self._version, given, self._array)
        if any(values.is_symbolic(value) for value in given):
            known = [value is None or isinstance(value, np.ndarray) for value in given]
            if all(known) and node.op_type in sizes.OPERATORS:
                try:
                    return [sizes.OPERATORS[node.op_type](call)]
                except sizes.Undecided:
                    pass
        elif (folded := constants.fold(call)) is not None:
            return folded
        found = operators()[node.op_type](call)
        return [self._lowered(each) for each in (found if isinstance(found, tuple) else (found,))]

    def _array(self, value: Any) -> Any:
        """As an array of jax; a constant becomes one once, however many nodes read it."""
        from compilers.tpu.onnx import values

        if not isinstance(value, np.ndarray):
            return values.to_array(value, self._is_bf16)
        if id(value) not in self._arrays:
            self._arrays[id(value)] = (value, values.to_array(value, self._is_bf16))
        return self._arrays[id(value)][1]

    def _lowered(self, value: Any) -> Any:
        is_float = getattr(value, "dtype", None) == np.float32
        if self._is_bf16 and is_float and not isinstance(value, np.ndarray):
            return value.astype("bfloat16")
        return value


def _named(node: Any) -> str:
    return f"{node.op_type} (layer {(node.name or node.output[0])!r})"
