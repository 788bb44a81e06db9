"""Read what goes into an ONNX file and what comes out of it, and settle which file is shelved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compilers.foreign import foreign
from compilers.graph import graphs
from model_repo.errors import BadInput

# onnx.TensorProto.DataType -> OIP datatype.
DATATYPES = {
    1: "FP32",
    2: "UINT8",
    3: "INT8",
    4: "UINT16",
    5: "INT16",
    6: "INT32",
    7: "INT64",
    8: "BYTES",
    9: "BOOL",
    10: "FP16",
    11: "FP64",
    12: "UINT32",
    13: "UINT64",
    16: "BF16",
}
Axis = int | str | None
"""A fixed size, a named free one, or a free one without a name."""


@dataclass(frozen=True)
class Port:
    """One tensor that goes in or comes out; axes is None where the file declares no rank."""

    name: str
    datatype: str
    axes: tuple[Axis, ...] | None

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The OIP shape: -1 for every free axis."""
        if self.axes is None:
            return None
        return tuple(axis if isinstance(axis, int) else -1 for axis in self.axes)


@dataclass(frozen=True)
class Signature:
    """The ports of an ONNX file, the file to shelve, and what had to be said about them.

    classes: the class names that the file itself gives for an output of scores.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    path: Path
    classes: dict[str, tuple[str, ...]]
    remarks: tuple[str, ...]


def read(path: Path, folder: Path) -> Signature:
    """Read `path`; a file that must be changed before it is shelved is rewritten into `folder`.

    External data is folded in and a ZipMap is cut off; any other file is kept byte for byte.
    Raises BadInput for a file that is no ONNX model, or whose tensors OIP cannot carry, and
    MissingExtra without the package onnx.
    """
    model, is_folded = foreign.load(path)
    remarks = ["external data is folded into the file"] if is_folded else []
    if classes := foreign.cut_zip_maps(model.graph):
        foreign.need_default_opset(model)
    remarks += [
        f"the output {name!r} is a list of maps: the tensor of scores behind it is served"
        for name in classes
    ]
    weights = {tensor.name for tensor in model.graph.initializer}
    weights |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    inputs = [_input(value) for value in model.graph.input if value.name not in weights]
    outputs, dropped = _outputs(model.graph)
    remarks += dropped
    if not inputs:
        raise BadInput(f"{path} has no input: a model that takes nothing cannot be served")
    if not outputs:
        raise BadInput(
            f"{path} has no output that is a tensor ({'; '.join(dropped)}): export it with one"
        )
    if is_folded or classes:
        path = folder / "model.onnx"
        graphs.write(model, path)
    return Signature(tuple(inputs), tuple(outputs), path, classes, tuple(remarks))


def _input(value: Any) -> Port:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise BadInput(
            f"the input {value.name!r} is a {_word(kind)}, which the protocol cannot carry: "
            "export the model with tensors as inputs"
        )
    port = _port(value)
    if port is None:
        raise BadInput(
            f"the input {value.name!r} is of {_element(value)}, which has no OIP "
            f"datatype: use one of {', '.join(DATATYPES.values())}"
        )
    if port.axes is None:
        raise BadInput(
            f"the input {value.name!r} declares no shape: export the model with one; "
            "free axes may be left open"
        )
    return port


def _outputs(graph: Any) -> tuple[list[Port], list[str]]:
    """The outputs that can be served, and a line for each that cannot."""
    ports, dropped = [], []
    for value in graph.output:
        kind = value.type.WhichOneof("value")
        port = _port(value) if kind == "tensor_type" else None
        if port:
            ports.append(port)
        else:
            what = _word(kind) if kind != "tensor_type" else _element(value)
            dropped.append(
                f"the output {value.name!r} is left out: it is no tensor that the "
                f"protocol can carry ({what})"
            )
    return ports, dropped


def _port(value: Any) -> Port | None:
    tensor = value.type.tensor_type
    if tensor.elem_type not in DATATYPES:
        return None
    axes: tuple[Axis, ...] | None = None
    if tensor.HasField("shape"):
        axes = tuple(_axis(dim) for dim in tensor.shape.dim)
    return Port(value.name, DATATYPES[tensor.elem_type], axes)


def _axis(dim: Any) -> Axis:
    if dim.HasField("dim_value") and dim.dim_value >= 0:
        return int(dim.dim_value)
    # Two axes called '?' need not be equal, so that is no name.
    return dim.dim_param if dim.dim_param not in ("", "?") else None


def _word(kind: str | None) -> str:
    return "value of no type" if kind is None else kind.removesuffix("_type").replace("_", " ")


def _element(value: Any) -> str:
    from onnx import TensorProto

    name: str = TensorProto.DataType.Name(value.type.tensor_type.elem_type)
    return name
