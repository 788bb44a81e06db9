"""Reckons with the sizes of tensors while a graph is traced, the free batch among them.

Shapes lead through Gather, Mul, Concat and the like to Reshape and Expand, which must know them
before the program runs: here they are NumPy arrays of objects, numbers or polynomials of the batch.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from compilers.tpu.onnx.call import Call, Operator
from compilers.tpu.onnx.indexing import cut
from compilers.tpu.onnx.jaxed import jax
from model_repo.tensors import Array


class Undecided(Exception):
    """It depends on the batch: the program itself must compute it."""


def _compared(compute: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """A comparison of two sizes, if it comes out the same at every batch size."""

    def decide(left: Any, right: Any) -> bool:
        try:
            return compute(left, right)
        except jax.errors.InconclusiveDimensionOperation as error:
            raise Undecided from error

    return decide


def _equal(left: Any, right: Any) -> bool:
    # Two polynomials that == calls different may be equal at one batch size.
    return bool(left == right) or not (left < right or left > right)


def _divided(left: Any, right: Any) -> Any:
    return left // right  # sizes are never negative


def _pairwise(compute: Callable[[Any, Any], Any]) -> Operator:
    every = np.frompyfunc(compute, 2, 1)
    return lambda call: _told(every(call.values[0], call.values[1]))


def _folded(compute: Callable[[Any, Any], Any]) -> Operator:
    every = np.frompyfunc(compute, 2, 1)
    return lambda call: _told(reduce(every, call.values))


def _told(found: Any) -> Array:
    """As int64 or bool again, if the batch is not in it any more."""
    array = np.asarray(found, object)
    if array.size and all(isinstance(size, bool | np.bool_) for size in array.ravel()):
        return array.astype(bool)
    is_plain = all(isinstance(size, int | np.integer) for size in array.ravel())
    return array.astype(np.int64) if is_plain else array


def _gather(call: Call) -> Any:
    where = call.known(1)
    if where.dtype == object or call.values[0].ndim != 1:
        raise Undecided
    return _told(call.values[0][where])


def _slice(call: Call) -> Any:
    array: Array = call.values[0]
    steps = call.sizes(4) if call.has(4) else [1]
    if array.ndim != 1:
        raise Undecided
    return _told(array[cut(call.sizes(1)[0], call.sizes(2)[0], steps[0], len(array))])


def _concat(call: Call) -> Any:
    return _told(np.concatenate([np.asarray(value, object) for value in call.values]))


def _unsqueeze(call: Call) -> Any:
    return np.expand_dims(call.values[0], tuple(call.listed("axes", 1) or ()))


def _squeeze(call: Call) -> Any:
    axes = call.listed("axes", 1)
    return np.squeeze(call.values[0], None if axes is None else tuple(axes))


def _reshape(call: Call) -> Any:
    return call.values[0].reshape(call.sizes(1))


def _cast(call: Call) -> Any:
    from onnx import TensorProto

    if call.attribute("to") not in (TensorProto.INT64, TensorProto.INT32):
        raise Undecided
    return call.values[0]


def _product(call: Call) -> Any:
    found = reduce(operator.mul, call.values[0].ravel(), 1)
    return _told(np.array([found] if call.attribute("keepdims", 1) else found, object))


def _where(call: Call) -> Any:
    if call.values[0].dtype == object:
        raise Undecided
    yes, no = (np.asarray(value, object) for value in call.values[1:3])
    return _told(np.where(call.values[0], yes, no))


OPERATORS: dict[str, Operator] = {
    **{"Add": _pairwise(operator.add), "Sub": _pairwise(operator.sub)},
    **{"Mul": _pairwise(operator.mul), "Div": _pairwise(_divided), "Mod": _pairwise(operator.mod)},
    **{"Equal": _pairwise(_compared(_equal)), "Less": _pairwise(_compared(operator.lt))},
    **{"Greater": _pairwise(_compared(operator.gt)), "Max": _folded(jax.core.max_dim)},
    **{"Min": _folded(jax.core.min_dim), "Gather": _gather, "Slice": _slice, "Concat": _concat},
    **{"Unsqueeze": _unsqueeze, "Squeeze": _squeeze, "Reshape": _reshape, "Cast": _cast},
    **{"ReduceProd": _product, "Where": _where, "Identity": lambda call: call.values[0]},
}
