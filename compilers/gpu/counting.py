"""Counts the operations and bytes of an ONNX graph, node by node, at one batch size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from compilers.gpu.cards import Precision
from compilers.gpu.kernels import Kernel, Load
from model_repo.errors import Unsupported

PRODUCTS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
FREE = {
    *("Cast", "Constant", "DequantizeLinear", "Dropout", "Expand", "Flatten", "Identity"),
    *("QuantizeLinear", "Reshape", "Shape", "Size", "Squeeze", "Unsqueeze"),
}
"""No kernels of their own: views, and changes of type that a compiler folds into a neighbour."""
POINTWISE = {
    *("Abs", "Add", "And", "Ceil", "Clip", "Cos", "Div", "Elu", "Equal", "Erf", "Exp", "Floor"),
    *("Gelu", "Greater", "HardSigmoid", "HardSwish", "LeakyRelu", "Less", "Log", "Max", "Min"),
    *("Mul", "Neg", "Not", "Or", "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Sigmoid", "Sin"),
    *("Softplus", "Sqrt", "Sub", "Sum", "Tanh", "Where"),
}


class _Tensor(NamedTuple):
    shape: tuple[int, ...]
    kind: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> float:
        from onnx import TensorProto, helper

        if self.kind == TensorProto.INT4:
            return self.elements / 2
        return float(self.elements * helper.tensor_dtype_to_np_dtype(self.kind).itemsize)


def count(proto: Any, batch: int) -> Load:
    """What a run of `batch` rows takes; raises Unsupported where sizes cannot be inferred."""
    tensors = _tensors(proto, batch)
    makers = {name: node for node in proto.graph.node for name in node.output}
    constants = {item.name for item in proto.graph.initializer}
    known = set(constants)  # what needs no data: TensorRT folds it while it builds
    kernels = []
    for node in proto.graph.node:
        if node.op_type in ("Constant", "Shape", "Size") or {*filter(None, node.input)} <= known:
            known.update(node.output)
        elif node.op_type not in FREE:
            kernels.append(_kernel(node, tensors, makers))
    ports = (*proto.graph.input, *proto.graph.output)
    io_bytes = sum(tensors[port.name].bytes for port in ports if port.name not in constants)
    weights = sum(tensors[name].bytes for name in constants)
    return Load(kernels, weights, io_bytes)


def _tensors(proto: Any, batch: int) -> dict[str, _Tensor]:
    """Every tensor whose size is known once the batch axis has one."""
    from onnx import shape_inference

    own = type(proto)()
    own.CopyFrom(proto)
    del own.graph.value_info[:]
    constants = {item.name for item in own.graph.initializer}
    for port in own.graph.input:
        dims = port.type.tensor_type.shape.dim
        if port.name not in constants and dims and not dims[0].HasField("dim_value"):
            dims[0].dim_value = batch
    for port in own.graph.output:
        port.type.tensor_type.ClearField("shape")
    graph = shape_inference.infer_shapes(own, data_prop=True).graph
    found = {i.name: _Tensor(tuple(i.dims), i.data_type) for i in graph.initializer}
    for port in (*graph.input, *graph.value_info, *graph.output):
        held = port.type.tensor_type
        sizes = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in held.shape.dim)
        if held.HasField("shape") and -1 not in sizes:
            found.setdefault(port.name, _Tensor(sizes, held.elem_type))
    return found


def _kernel(node: Any, tensors: Mapping[str, _Tensor], makers: Mapping[str, Any]) -> Kernel:
    read = [_stored(name, makers) for name in node.input if name]
    lacking = [name for name in (*read, *node.output) if name and name not in tensors]
    if lacking:
        raise Unsupported(
            f"the size of {lacking[0]!r} at the node {node.name!r} ({node.op_type}) depends on the "
            "data, so nothing can be said of its speed: fix the sizes of the graph"
        )
    moved = sum(tensors[name].bytes for name in (*read, *node.output) if name)
    out = tensors[node.output[0]]
    return Kernel(
        node.name or node.output[0],
        _flops(node, tensors, out),
        moved,
        _precision(node, tensors, makers),
        node.op_type in POINTWISE,
    )


def _stored(name: str, makers: Mapping[str, Any]) -> str:
    """The tensor as it lies in memory: what is dequantized on the way was read as integers."""
    while name in makers and makers[name].op_type in ("DequantizeLinear", "Identity"):
        name = makers[name].input[0]
    return name


def _flops(node: Any, tensors: Mapping[str, _Tensor], out: _Tensor) -> float:
    """2 operations for each multiplication of a product; one for each element of anything else."""
    if node.op_type not in PRODUCTS:
        return float(out.elements)
    first, weight = tensors[node.input[0]], tensors[node.input[1]]
    if node.op_type == "Conv":
        return 2.0 * out.elements * math.prod(weight.shape[1:])
    if node.op_type == "ConvTranspose":
        return 2.0 * first.elements * math.prod(weight.shape[1:])
    is_turned = any(a.name == "transA" and a.i for a in node.attribute)
    deep = first.shape[0 if is_turned else -1]
    return 2.0 * out.elements * deep


def _precision(node: Any, tensors: Mapping[str, _Tensor], makers: Mapping[str, Any]) -> Precision:
    """What a node computes in: int8 if both factors are dequantized, else the type of the first."""
    from onnx import TensorProto

    factors = [makers.get(name) for name in node.input[:2]]
    if node.op_type in PRODUCTS and all(f and f.op_type == "DequantizeLinear" for f in factors):
        return "int8"
    kind = tensors[node.input[0]].kind
    return "fp16" if kind == TensorProto.FLOAT16 else "fp32"
