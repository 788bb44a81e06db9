"""What a tensor on the wire may not be: absurdly shaped."""

from __future__ import annotations

import math
from collections.abc import Sequence

from model_repo.errors import BadInput

_MAX_RANK = 32
_MAX_ELEMENTS = 2**40


def check_shape(shape: Sequence[int], tensor: str) -> None:
    """Raise BadInput for a shape that no array can have, though it may hold no element."""
    if len(shape) > _MAX_RANK:
        raise BadInput(f"tensor {tensor!r} has {len(shape)} dimensions: at most {_MAX_RANK} may be")
    if 0 in shape and math.prod(size or 1 for size in shape) > _MAX_ELEMENTS:
        raise BadInput(f"tensor {tensor!r} has the shape {list(shape)}: its sizes are too large")
