"""ONNX graphs: clean of where they were made, written as the same bytes every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PRECISION = "farebox.precision"
"""Metadata that says in which precision a graph may be computed, lower than it is written in."""


def strip(proto: Any) -> Any:
    """`proto` without producer, doc strings and metadata: exporters leave source paths in them.

    PRECISION stays.
    """
    proto.producer_name = proto.producer_version = proto.doc_string = ""
    kept = precision(proto)
    del proto.metadata_props[:]
    if kept:
        proto.metadata_props.add(key=PRECISION, value=kept)
    _strip_graph(proto.graph)
    for function in proto.functions:
        _strip_item(function)
        for node in function.node:
            _strip_node(node)
    return proto


def precision(proto: Any) -> str:
    """The precision that `proto` may be computed in: "" for that of its tensors, or bf16, fp16."""
    return next((prop.value for prop in proto.metadata_props if prop.key == PRECISION), "")


def _strip_graph(graph: Any) -> None:
    _strip_item(graph)
    for node in graph.node:
        _strip_node(node)
    for part in (graph.initializer, graph.input, graph.output, graph.value_info):
        for item in part:
            _strip_item(item)


def _strip_node(node: Any) -> None:
    _strip_item(node)
    for attribute in node.attribute:
        if attribute.HasField("g"):
            _strip_graph(attribute.g)
        for graph in attribute.graphs:
            _strip_graph(graph)


def _strip_item(item: Any) -> None:
    item.doc_string = ""
    if hasattr(item, "metadata_props"):
        del item.metadata_props[:]


def write(proto: Any, path: Path) -> None:
    """Write an ONNX model: the same model gives the same bytes."""
    path.write_bytes(proto.SerializeToString(deterministic=True))


def drop_unused(graph: Any) -> None:
    """Remove the constants that nothing reads."""
    used = {item.name for item in graph.output} | _read(graph)
    for place in reversed(range(len(graph.initializer))):
        if graph.initializer[place].name not in used:
            del graph.initializer[place]


def _read(graph: Any) -> set[str]:
    """The tensors that nodes read, those of inner graphs among them."""
    names: set[str] = set()
    for node in graph.node:
        names.update(node.input)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                names |= _read(inner) | {item.name for item in inner.output}
    return names
