"""Bodies that travel compressed: gzip and deflate (a zlib stream), both ways.

Which encoding an answer takes is what RFC 9110 section 12.5.3 makes of Accept-Encoding.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

from gateway.core.request import Body, Part
from model_repo.errors import BadInput, Unsupported

IDENTITY = "identity"
_WINDOWS = {"gzip": 31, "deflate": 15}
"""zlib's word for the format: 15 is a zlib stream, 16 more are gzip's header and trailer."""
OFFERED = ", ".join(_WINDOWS)
_LEVEL = 1  # tensors hardly shrink: more effort costs time and gains next to nothing


def check(encoding: str) -> str:
    """The Content-Encoding in lower case; raises Unsupported naming those that are offered."""
    name = encoding.strip().lower() or IDENTITY
    if name != IDENTITY and name not in _WINDOWS:
        raise Unsupported(
            f"the Content-Encoding {encoding[:64]!r} is not offered: use one of {OFFERED}, "
            "or send it plain"
        )
    return name


def decompress(data: Body, encoding: str, limit: int) -> bytes:
    """The body itself; raises BadInput for what is no such stream, or more than `limit` bytes."""
    parts, size = [], 0
    while data:
        stream = zlib.decompressobj(_WINDOWS[encoding])
        try:
            part = stream.decompress(data, limit - size + 1)
        except zlib.error as error:
            raise BadInput(f"the body is not a {encoding} stream: {error}") from error
        size += len(part)
        if size > limit:
            raise BadInput(
                f"the decompressed body is larger than {limit} bytes, the setting max_body_bytes"
            )
        if not stream.eof:
            raise BadInput(f"the body is not a {encoding} stream: its end is missing")
        parts.append(part)
        data = stream.unused_data  # gzip may come in several members
    if not parts:
        raise BadInput(f"the body is not a {encoding} stream: it is empty")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def compress(parts: Sequence[Part], encoding: str) -> bytes:
    """The parts of a body as one compressed stream."""
    stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOWS[encoding])
    return b"".join([*map(stream.compress, parts), stream.flush()])


def choose(accepted: str) -> str:
    """The encoding of an answer by what Accept-Encoding allows, the greatest weight first.

    Nothing that is offered, a weight that is none, and a tie with the plain body leave it plain.
    """
    weights = {}
    for item in accepted.lower().split(","):
        name, _, parameters = item.partition(";")
        weights[name.strip()] = _weight(parameters)
    others = weights.get("*", 0.0)
    offered = {name: weights.get(name, others) for name in _WINDOWS}
    best = max(offered, key=lambda name: offered[name])
    plain = weights.get(IDENTITY, 0.0)
    return best if offered[best] > 0.0 and offered[best] >= plain else IDENTITY


def _weight(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                weight = float(value)
            except ValueError:
                return 0.0
            return weight if math.isfinite(weight) else 0.0
    return 1.0
