"""A request that is one tensor and nothing else: Inference-Header-Content-Length is 0.

The model's own signature says what the bytes are (binary tensor data extension, raw requests).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from gateway.core.request import Body, InferRequest
from gateway.oip import slo
from model_repo.errors import BadInput
from model_repo.records import Model, TensorSpec
from model_repo.tensors import Array, dtype_of, from_bytes


def decode(
    model: Model,
    version: str,
    headers: Mapping[str, str],
    body: Body,
    received_s: float,
) -> InferRequest:
    """One row, with every output in the binary format.

    Raises BadInput where the model takes several inputs or the bytes do not tell their shape.
    """
    if len(model.inputs) != 1:
        names = ", ".join(spec.name for spec in model.inputs)
        raise BadInput(
            f"Inference-Header-Content-Length is 0, but model {model.name!r} takes {names}: "
            "a body without JSON can be one input only"
        )
    (spec,) = model.inputs
    wishes = slo.read({}, headers)
    return InferRequest(
        model=model.name,
        version=version,
        inputs={spec.name: _tensor(spec, model.batches, body)},
        received_s=received_s,
        deadline_s=received_s + wishes.timeout_s,
        slo=wishes.slo,
        binary_default=True,
        variant=wishes.variant,
        explain=wishes.explain,
    )


def _tensor(spec: TensorSpec, batches: bool, body: Body) -> Array:
    sizes = list(spec.shape[1:] if batches else spec.shape)
    free = [axis for axis, size in enumerate(sizes) if size == -1]
    if len(free) > 1:
        raise BadInput(
            f"the input {spec.name!r} has the shape {list(spec.shape)}: of more than one free "
            "axis a body without JSON does not tell the sizes"
        )
    fixed = math.prod(size for size in sizes if size != -1)
    if spec.datatype == "BYTES":
        if fixed != 1:
            raise BadInput(f"the input {spec.name!r} takes {fixed} strings: send them in JSON")
        count, array = 1, np.array([bytes(body)], dtype=object)
    else:
        count = len(body) // max(1, fixed * dtype_of(spec.datatype, spec.name).itemsize)
    shape = [1] * batches + [count if size == -1 else size for size in sizes]
    if spec.datatype == "BYTES":
        return array.reshape(shape)
    return from_bytes(body, spec.datatype, shape, spec.name)
