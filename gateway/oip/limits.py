"""What a tensor on the wire may not be: absurdly shaped, or in need of what is not offered."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence

from model_repo.errors import BadInput, Unsupported

_MAX_RANK = 32
_MAX_ELEMENTS = 2**40
_NOT_OFFERED = ("classification", "shared_memory_region")


def check_shape(shape: Sequence[int], tensor: str) -> None:
    """Raise BadInput for a shape that no array can have, though it may hold no element."""
    if len(shape) > _MAX_RANK:
        raise BadInput(f"tensor {tensor!r} has {len(shape)} dimensions: at most {_MAX_RANK} may be")
    if 0 in shape and math.prod(size or 1 for size in shape) > _MAX_ELEMENTS:
        raise BadInput(f"tensor {tensor!r} has the shape {list(shape)}: its sizes are too large")


def check_offered(parameters: Container[str], tensor: str) -> None:
    """Raise Unsupported for a tensor parameter that would change the answer if it were heeded."""
    for name in _NOT_OFFERED:
        if name in parameters:
            raise Unsupported(f"tensor {tensor!r} asks for {name}, which is not offered")
