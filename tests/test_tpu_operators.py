"""Every operator answers as the test cases say that come with ONNX itself."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

jax = pytest.importorskip("jax", reason="the extra tpu is not installed")

from compilers.tpu.onnx import coverage, graph  # noqa: E402  after the check for the extra
from model_repo.errors import Unsupported  # noqa: E402

KNOWN_BEFORE = {
    **{"Reshape": [1], "Expand": [1], "Tile": [1], "Pad": [1, 3], "Slice": [1, 2, 3, 4]},
    **{"Squeeze": [1], "Unsqueeze": [1], "ConstantOfShape": [0], "Range": [0, 1, 2]},
    **{"Trilu": [1], "OneHot": [1], "Split": [1], "TopK": [1], "CumSum": [1]},
    **{"Resize": [1, 2, 3], "Dropout": [2]},
}
"""Inputs that say a shape or a place: a program for a TPU has them as constants."""
MANY = {
    *("Conv", "ConvTranspose", "ConvInteger", "MaxPool", "AveragePool", "Resize", "Gemm"),
    *("GatherElements", "GatherND", "ScatterElements", "ScatterND", "Slice", "Reshape", "Pad"),
    *("QuantizeLinear", "DequantizeLinear", "LayerNormalization", "GroupNormalization", "Cast"),
}
"""Operators with many cases of their own."""
REFUSED = (
    *("training", "DOUBLE", "FLOAT8", "FLOAT4", "INT4", "INT2", "int4", "int2", "float4"),
    *("float8", "float64", "second output", "no identity", "antialias", "tf_crop_and_resize"),
    *("aspect ratio", "string", "object"),
)
"""What the reason of a refusal may hold: all else that is covered must be computed."""
WORDS = ("sequence", "optional", "_opt", "string")


def cases(most: int) -> Iterator[Any]:
    """The cases whose operators all are covered, at most so many for each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cases overflow and divide by 0 where they are made
        from onnx.backend.test.loader import load_model_tests

        found = load_model_tests(kind="node")
    taken: Counter[str] = Counter()
    for case in found:
        nodes = case.model.graph.node
        kinds = {node.op_type for node in nodes}
        is_covered = kinds <= {*graph.operators(), "Constant"} and len(nodes) == 1
        is_old = case.model.opset_import[0].version < coverage.OLDEST
        if not is_covered or is_old or any(word in case.name for word in WORDS):
            continue
        kind = nodes[0].op_type
        taken[kind] += 1
        if taken[kind] <= (most if kind not in MANY else most * 5):
            yield case


def arrays(values: Any) -> list[Any]:
    return [
        numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else np.asarray(v)
        for v in values
    ]


def answers(model: Any, given: list[Any]) -> dict[str, Any]:
    """What jax computes, with 64 bits narrowed as at the borders of a program."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model)
    feeds = dict(zip([item.name for item in model.graph.input], given, strict=True))
    node = model.graph.node[0]
    places = [1] if node.op_type.startswith("Reduce") else KNOWN_BEFORE.get(node.op_type, [])
    for place in places:
        if place < len(node.input) and node.input[place] in feeds:
            name = node.input[place]
            proto.graph.initializer.append(numpy_helper.from_array(feeds.pop(name), name))
    narrow = {np.dtype(np.int64): np.int32, np.dtype(np.uint64): np.uint32}
    feeds = {k: v.astype(narrow.get(v.dtype, v.dtype)) for k, v in feeds.items()}
    ready = coverage.ready(proto, graph.operators())
    with jax.default_matmul_precision("highest"):
        return dict(jax.jit(lambda inputs: graph.Walk(ready, False).run(inputs))(feeds))


def check(case: Any) -> str:
    """ "" if the case comes out right or is refused for a reason, else what went wrong."""
    for given, wanted in case.data_sets:
        try:
            found = answers(case.model, arrays(given))
        except Unsupported as error:
            return "" if any(word in str(error) for word in REFUSED) else str(error)
        for item, want in zip(case.model.graph.output, arrays(wanted), strict=True):
            got = np.asarray(found[item.name])
            wide = np.float64 if want.dtype.kind != "b" else np.bool_
            loose = 1e-2 if want.dtype.itemsize == 2 else 1e-5
            if got.shape != want.shape:
                return f"{got.shape} for {want.shape}"
            if not np.allclose(
                got.astype(wide), want.astype(wide), case.rtol, loose, equal_nan=True
            ):
                return f"{got.ravel()[:4]} for {want.ravel()[:4]}"
    return ""


def test_a_few_cases_of_each_operator_come_out_as_onnx_says() -> None:
    found = {case.name: check(case) for case in cases(1)}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}
    assert len(found) > 150


@pytest.mark.slow
def test_all_cases_come_out_as_onnx_says() -> None:
    found = {case.name: check(case) for case in cases(10**6)}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}
    assert len(found) > 800
