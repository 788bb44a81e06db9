"""What a tensor may be while a graph is traced, and how each becomes an array of jax.

A constant is a NumPy array. The sizes of a tensor are one too, of objects, where the batch is
among them. What DequantizeLinear gives stays `Quantized` until someone needs the numbers. All
else is an array of jax.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from compilers.tpu.onnx.jaxed import jnp
from model_repo.errors import Unsupported
from model_repo.tensors import Array

_NARROW = {"int64": np.int32, "uint64": np.uint32}
_BF16_MAX = float(jnp.finfo(jnp.bfloat16).max)


@dataclass(frozen=True)
class Quantized:
    """(whole - zero_point) * scale, along `axis` if the scale is a list.

    whole, scale and zero_point are arrays, NumPy's if they are constants; zero_point has the type
    of `whole`, or is None for 0.
    """

    whole: Any
    scale: Any
    zero_point: Any
    axis: int

    def numbers(self) -> Any:
        """Them all, in the type of the scale."""
        scale = self._along(jnp.asarray(self.scale))
        whole = jnp.asarray(self.whole).astype(jnp.float32)
        if self.zero_point is not None:
            whole = whole - self._along(jnp.asarray(self.zero_point)).astype(jnp.float32)
        return (whole * scale.astype(jnp.float32)).astype(scale.dtype)

    def _along(self, values: Any) -> Any:
        return along(values, self.whole.ndim, self.axis)


def along(values: Any, rank: int, axis: int) -> Any:
    """A list [n] shaped so that it lies along `axis` of a tensor; a single number stays one."""
    if values.size == 1:
        return values.reshape(())
    shape = [1] * rank
    shape[axis] = -1
    return values.reshape(shape)


def is_symbolic(value: Any) -> bool:
    """Whether these are sizes with the batch among them."""
    return isinstance(value, np.ndarray) and value.dtype == object


def to_array(value: Any, is_bf16: bool) -> Any:
    """As an array of jax; raises Unsupported for what a TPU cannot hold."""
    if isinstance(value, Quantized):
        found = value.numbers()
        return found.astype(jnp.bfloat16) if is_bf16 else found
    if is_symbolic(value):
        sizes = [jnp.asarray(size).astype(jnp.int32) for size in value.ravel()]
        return jnp.stack(sizes).reshape(value.shape)
    if isinstance(value, np.ndarray | np.generic):
        return jnp.asarray(_narrowed(np.asarray(value), is_bf16))
    return value


def _narrowed(array: Array, is_bf16: bool) -> Array:
    name = array.dtype.name
    if array.dtype.kind in "OSU" or name == "float64":
        raise Unsupported(f"a constant of {name}, which a TPU does not compute with")
    if is_bf16 and name == "float32":
        # Masks are made of the least number of fp32, which would round to infinity in bf16.
        finite = np.clip(array, -_BF16_MAX, _BF16_MAX)
        return np.where(np.isinf(array), array, finite).astype(ml_dtypes.bfloat16)
    if name not in _NARROW:
        return array
    bounds = np.iinfo(_NARROW[name])
    if array.size and (array.max() > bounds.max or array.min() < bounds.min):
        raise Unsupported("a whole number of more than 32 bits, and a TPU counts in 32")
    return array.astype(_NARROW[name])
