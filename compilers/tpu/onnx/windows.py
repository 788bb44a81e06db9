"""Where the windows of convolutions and pools lie, after the attributes that say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from compilers.tpu.onnx.call import Call
from model_repo.errors import Unsupported


@dataclass(frozen=True)
class Windows:
    """For each spatial axis: the kernel's size, its strides, its spread, and what is padded."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]

    @property
    def spans(self) -> tuple[int, ...]:
        """How far each kernel reaches."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))


def windows(call: Call, sizes: tuple[Any, ...], kernel: tuple[int, ...]) -> Windows:
    """The windows over spatial axes of `sizes`; raises Unsupported if those are not known."""
    if not all(isinstance(size, int) for size in sizes):
        raise Unsupported(f"its spatial axes {list(sizes)} must have known sizes")
    rank = len(kernel)
    strides = tuple(call.attribute("strides", [1] * rank))
    dilations = tuple(call.attribute("dilations", [1] * rank))
    auto = call.attribute("auto_pad", "NOTSET")
    found = Windows(kernel, strides, dilations, ((0, 0),) * rank)
    if auto == "VALID":
        return found
    if auto == "NOTSET":
        flat = call.attribute("pads", [0] * 2 * rank)
        pads = tuple(zip(flat[:rank], flat[rank:], strict=True))
        return Windows(kernel, strides, dilations, pads)
    totals = [
        max(0, (-(-size // stride) - 1) * stride + span - size)
        for size, stride, span in zip(sizes, strides, found.spans, strict=True)
    ]
    return Windows(kernel, strides, dilations, tuple(halved(total, auto) for total in totals))


def halved(total: int, auto: str) -> tuple[int, int]:
    """Padding on both sides; the odd one at the end, or with SAME_LOWER at the front."""
    less, more = total // 2, total - total // 2
    return (less, more) if auto == "SAME_UPPER" else (more, less)
