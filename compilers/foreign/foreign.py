"""Open ONNX files that others made: fold external data in, cut ZipMaps off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model_repo.errors import BadInput, MissingExtra

LARGEST_BYTES = 2**31 - 2**20
"""A protobuf message ends at 2 GiB; the rest is for the graph around the weights."""


def load(path: Path) -> tuple[Any, bool]:
    """The onnx.ModelProto at `path`, its external data within, and whether it had any.

    Raises BadInput for a file that is no ONNX model, lacks its external data, or is too large.
    """
    try:
        import onnx
        from onnx.external_data_helper import load_external_data_for_model
    except ModuleNotFoundError as error:
        raise MissingExtra("reading an ONNX file", error.name or "onnx", "compile") from error
    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise BadInput(f"the model {path} cannot be read: {error.strerror}") from error
    except Exception as error:  # protobuf's DecodeError, and whatever a broken file provokes
        raise BadInput(f"{path} is no ONNX model: {_sentence(error)}") from error
    if not model.HasField("graph"):
        raise BadInput(f"{path} is no ONNX model: it holds no graph; export the model again")
    outside = [tensor for tensor in _tensors(model) if tensor.data_location == tensor.EXTERNAL]
    if not outside:
        return model, False
    size = sum(_outside_bytes(tensor, path.parent) for tensor in outside)
    if size > LARGEST_BYTES:
        raise BadInput(
            f"{path} has {size / 2**30:.1f} GiB of external data: a shelved file holds "
            "its weights itself and ends at 2 GiB; store the weights in fewer bits"
        )
    try:
        load_external_data_for_model(model, str(path.parent))
    except Exception as error:  # the onnx package raises its own errors for files and lengths
        raise BadInput(f"the external data of {path} is not usable: {_sentence(error)}") from error
    return model, True


def cut_zip_maps(graph: Any) -> dict[str, tuple[str, ...]]:
    """Put the tensor of scores where a ZipMap made maps of it: output name -> class names."""
    cut: dict[str, tuple[str, ...]] = {}
    outputs = {value.name: value for value in graph.output}
    for node in graph.node:
        if node.op_type == "ZipMap" and node.output[0] in outputs:
            cut[node.output[0]] = _classes(node)
            # Identity, not a new name for the tensor: that could be an input or output itself.
            node.op_type, node.domain = "Identity", ""
            del node.attribute[:]
            value = outputs[node.output[0]]
            value.type.Clear()
            value.type.tensor_type.elem_type = 1  # a ZipMap takes FLOAT only
    return cut


def need_default_opset(model: Any, version: int = 8) -> None:
    """Import the default operators, which a graph of nothing but ML operators does without."""
    if not any(entry.domain in ("", "ai.onnx") for entry in model.opset_import):
        model.opset_import.add(domain="", version=version)


def _classes(node: Any) -> tuple[str, ...]:
    attributes = {attribute.name: attribute for attribute in node.attribute}
    if "classlabels_strings" in attributes:
        return tuple(label.decode() for label in attributes["classlabels_strings"].strings)
    if "classlabels_int64s" in attributes:
        return tuple(str(label) for label in attributes["classlabels_int64s"].ints)
    return ()


def _tensors(model: Any) -> Iterator[Any]:
    """Every constant tensor, those in the bodies of If and Loop and of functions included."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for graph in ([attribute.g] if attribute.HasField("g") else []) + [*attribute.graphs]:
                yield from _graph_tensors(graph)


def _outside_bytes(tensor: Any, folder: Path) -> int:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if "length" in entries:
        if not entries["length"].isdecimal():
            raise BadInput(
                f"the external data of the tensor {tensor.name!r} has the length "
                f"{entries['length']!r}, which is no number of bytes: export the model again"
            )
        return int(entries["length"])
    place = folder / entries.get("location", "")
    return place.stat().st_size if place.is_file() else 0


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
