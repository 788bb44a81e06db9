"""Makes OpenVINO's tensors of NumPy arrays, over the same memory where that can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from model_repo.errors import BadInput
from model_repo.records import TensorSpec
from model_repo.tensors import Array

_INT32 = np.iinfo(np.int32)


def tensor_maker(openvino: Any, spec: TensorSpec) -> Callable[[Array], Any]:
    """What makes a tensor of an array, over its memory where OpenVINO can share it.

    It cannot where the array is not in one piece or may not be written to.
    """
    tensor_of = openvino.Tensor

    def share(array: Array) -> Any:
        flags = array.flags
        return tensor_of(array, shared_memory=flags.c_contiguous and flags.writeable)

    def share_narrow(array: Array) -> Any:
        # It computes in 32 bits and would cut off what is beyond, without a word.
        if array.size and not (array.max() <= _INT32.max and array.min() >= _INT32.min):
            raise refused(
                f"tensor {spec.name!r} holds a number that takes more than 32 bits, and OpenVINO "
                "computes in 32: give smaller ones, or ask for a variant on ONNX Runtime"
            )
        return share(array)

    def copy_bf16(array: Array) -> Any:
        tensor = tensor_of(openvino.Type.bf16, array.shape)
        tensor.data[...] = array.view(np.float16)
        return tensor

    special = dict.fromkeys(("INT64", "UINT64", "UINT32"), share_narrow) | {"BF16": copy_bf16}
    return special.get(spec.datatype, share)


def refused(reason: str) -> BadInput:
    """The error for inputs that the model does not take."""
    return BadInput(f"the model refused these inputs: {reason}")
