"""What int8 in one layer alone costs the answers of an ONNX model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np

from compilers import affine
from compilers.contracts import Work
from compilers.digests import code_sha256, versions
from compilers.sensitivity import layers
from compilers.sensitivity.divergence import check, divergence
from compilers.sensitivity.layers import Layer
from model_repo.errors import BadInput
from model_repo.tensors import Array

LIBRARIES = ("numpy", "onnx", "onnxruntime")
ROWS, BATCHES = 20, 2
"""Of the calibration rows: enough to rank layers, and few enough for deep models."""

Feeds = Sequence[Mapping[str, Array]]


def rank(model: Any, work: Work) -> tuple[str, ...]:
    """The names of the weighted nodes, the most sensitive first."""
    found = losses(model, work)
    return tuple(sorted(found, key=lambda name: (-found[name], name)))


def losses(model: Any, work: Work) -> dict[str, float]:
    """Node name -> `divergence` of the answers when that node alone computes in int8.

    Its weight is rounded to S8 per output channel, symmetric, and its input to U8 over the range
    seen on calibration rows, as the static modes of `quantize` do. Measured once for one model
    and its rows. Raises BadInput if the model does not answer finite floats.
    """
    end = min(len(work.calibration), ROWS * BATCHES)
    starts = range(0, end, ROWS)
    feeds = [dict(work.calibration.take(slice(at, at + ROWS)).inputs) for at in starts]
    depends_on = (
        "sensitivity.quantization",
        hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest(),
        _sha256_of(feeds),
        work.metric,
        code_sha256("compilers.sensitivity.quantization"),
        versions(LIBRARIES),
    )
    return cast(dict[str, float], work.recall(depends_on, lambda: _measure(model, feeds, work)))


def _measure(model: Any, feeds: Feeds, work: Work) -> dict[str, float]:
    own = type(model)()
    own.CopyFrom(model)  # layers are changed in place, one after the other
    found = layers.find(own)
    wanted = _answers(own, feeds)
    check(wanted)
    ranges = _input_ranges(own, found, feeds)
    measured = {}
    for turn, layer in enumerate(found):
        work.say(f"sensitivity to int8, layer {turn + 1} of {len(found)}")
        with _quantized(own.graph, layer, ranges[layer.inputs[0]]):
            measured[layer.name] = divergence(wanted, _answers(own, feeds), work.metric)
    return measured


def _input_ranges(
    model: Any, found: Sequence[Layer], feeds: Feeds
) -> dict[str, tuple[float, float]]:
    """The least and the largest value of each layer's input over all rows."""
    from onnx import TensorProto, helper

    watched = type(model)()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    names = sorted({layer.inputs[0] for layer in found})
    for name in names:
        for kind in ("ReduceMin", "ReduceMax"):
            output = f"{name}/{kind}"
            watched.graph.node.append(helper.make_node(kind, [name], [output], keepdims=0))
            watched.graph.output.append(
                helper.make_tensor_value_info(output, TensorProto.FLOAT, [])
            )
    if not names:
        return {}
    session = _open(watched)
    seen = np.array([session.run(None, dict(feed)) for feed in feeds]).reshape(len(feeds), -1, 2)
    lows, highs = seen[..., 0].min(axis=0).tolist(), seen[..., 1].max(axis=0).tolist()
    return {name: (lows[i], highs[i]) for i, name in enumerate(names)}


@contextmanager
def _quantized(graph: Any, layer: Layer, seen: tuple[float, float]) -> Iterator[None]:
    """Round one layer's weight and input for as long as the block runs."""
    from onnx import helper, numpy_helper

    rounded, integer, scale, zero, weight = (
        f"{layer.name}/sensitivity/{part}" for part in ("x", "q", "scale", "zero", "w")
    )
    constants = _constants(layer, seen)
    count = len(graph.initializer)
    graph.initializer.extend(
        numpy_helper.from_array(array, name)
        for name, array in zip((scale, zero, weight), constants, strict=True)
    )
    node = graph.node[layer.place]
    node.input[0], node.input[1] = rounded, weight
    pair = (
        helper.make_node("QuantizeLinear", [layer.inputs[0], scale, zero], [integer]),
        helper.make_node("DequantizeLinear", [integer, scale, zero], [rounded]),
    )
    for offset, added in enumerate(pair):
        graph.node.insert(layer.place + offset, added)
    try:
        yield
    finally:
        del graph.node[layer.place : layer.place + len(pair)]
        del graph.initializer[count:]
        node = graph.node[layer.place]
        node.input[0], node.input[1] = layer.inputs[:2]


def _constants(layer: Layer, seen: tuple[float, float]) -> tuple[Array, Array, Array]:
    """Scale and zero point of the input, and the weight after its round trip through S8."""
    scale, zero = affine.scale_and_zero_point(*seen, 8, signed=False, symmetric=False)
    span = affine.range_of(layer.weight, layer.axis)
    weight = affine.round_trip(layer.weight, *span, 8, signed=True, symmetric=True)
    return scale.reshape(()), zero.reshape(()).astype(np.uint8), weight


def _answers(model: Any, feeds: Feeds) -> list[Array]:
    """The outputs that are floats, the rows of all feeds joined."""
    session = _open(model)
    runs = [session.run(None, dict(feed)) for feed in feeds]
    return [
        np.concatenate([np.atleast_1d(part) for part in parts])
        for parts in zip(*runs, strict=True)
        if parts[0].dtype.kind == "f"
    ]


def _open(model: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its errors share no class but Exception
        reason = " ".join(str(error).split())[:200]
        raise BadInput(f"its layers cannot be measured one by one: {reason}") from error


def _sha256_of(feeds: Feeds) -> str:
    total = hashlib.sha256()
    for feed in feeds:
        for name, array in sorted(feed.items()):
            is_object = array.dtype == object  # its bytes would be pointers
            total.update(repr((name, array.dtype.str, array.shape)).encode())
            total.update(repr(array.tolist()).encode() if is_object else array.tobytes())
    return total.hexdigest()
