"""Works out at once what depends on no input, as ONNX itself defines it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from compilers.tpu.onnx.call import Call
from model_repo.tensors import Array

LARGEST = 65_536
"""Numbers that are worked out at once; more would make the program larger than what it is."""
_LEFT = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}


def value_of(node: Any) -> Array:
    """What a Constant holds."""
    from onnx import helper, numpy_helper

    (attribute,) = node.attribute
    value = helper.get_attribute_value(attribute)
    if attribute.name == "value":
        return numpy_helper.to_array(value)
    kinds = {"value_float": np.float32, "value_floats": np.float32}
    return np.asarray(value, kinds.get(attribute.name, np.int64))


def fold(call: Call) -> list[Array] | None:
    """The outputs of a node whose inputs are constants; None if the program is to compute them."""
    is_constant = all(value is None or isinstance(value, np.ndarray) for value in call.values)
    given = [value for value in call.values if value is not None]
    if not is_constant or call.node.op_type in _LEFT or sum(v.size for v in given) > LARGEST:
        return None
    from onnx import ValueInfoProto, helper
    from onnx.reference import ReferenceEvaluator

    names = [name for name in call.node.input if name]
    graph = helper.make_graph(
        [call.node],
        "constant",
        [ValueInfoProto(name=name) for name in dict.fromkeys(names)],
        [ValueInfoProto(name=name) for name in call.node.output],
    )
    opsets = [helper.make_opsetid("", call.version)]
    feeds = dict(zip(names, given, strict=True))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numbers that overflow, as they may
        model = helper.make_model(graph, opset_imports=opsets)
        try:
            found = [np.asarray(each) for each in ReferenceEvaluator(model).run(None, feeds)]
        except Exception:  # it raises anything on versions and types it lacks: jax may have them
            return None
    return found if sum(each.size for each in found) <= LARGEST else None
