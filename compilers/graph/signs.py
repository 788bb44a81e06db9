"""Moves symmetric activations between signed and unsigned integers; their values stay the same.

S8 with zero point 0 and U8 with zero point 128 hold the same reals at the same scale. Kernels
differ: ONNX Runtime's for x86 take U8 activations with S8 weights, OpenVINO's prefer zero point 0.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from compilers.graph import graphs

SHIFT = 128


def unsigned(proto: Any) -> Any:
    """`proto` with every S8 activation as U8; weights stay as they are."""
    return _shifted(proto, np.int8, np.uint8, None)


def signed(proto: Any) -> Any:
    """`proto` with every U8 activation whose zero point is 128 as S8 with 0; others stay."""
    return _shifted(proto, np.uint8, np.int8, SHIFT)


def _shifted(proto: Any, given: Any, wanted: Any, only: int | None) -> Any:
    from onnx import numpy_helper

    graph = proto.graph
    arrays = {item.name: item for item in graph.initializer}
    users = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            users[name].append(node)
    outputs, moved = {item.name for item in graph.output}, set()
    for node in graph.node:
        if node.op_type != "QuantizeLinear" or len(node.input) < 3 or node.input[2] not in arrays:
            continue
        readers = users[node.output[0]]
        if node.output[0] in outputs or any(r.op_type != "DequantizeLinear" for r in readers):
            continue
        zero = numpy_helper.to_array(arrays[node.input[2]])
        if zero.dtype != given or (only is not None and (zero != only).any()):
            continue
        # int8 + 128 and uint8 - 128 are the same change of one bit.
        name = f"{node.input[2]}/{np.dtype(wanted).name}"
        if name not in arrays:
            flipped = (zero.view(np.uint8) ^ SHIFT).view(wanted)
            graph.initializer.append(numpy_helper.from_array(flipped, name))
            arrays[name] = graph.initializer[-1]
        for each in (node, *readers):
            each.input[2] = name
        moved.add(node.output[0])
    _forget(graph, moved)
    return proto


def _forget(graph: Any, moved: set[str]) -> None:
    """Drop what was said of the type of the tensors that moved."""
    told = [info for info in graph.value_info if info.name not in moved]
    del graph.value_info[:]
    graph.value_info.extend(told)
    graphs.drop_unused(graph)
