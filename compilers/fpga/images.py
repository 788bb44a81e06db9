"""Find in the taps of a layer which window it slides over an image, if it does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from compilers.fpga.chain import windows
from model_repo.tensors import Array

Image = tuple[int, int, int]
"""Channels, height, width."""
Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """What a kernel does along height and width; size: of what it gives."""

    kernel: Pair
    stride: Pair
    padding: Pair
    size: Pair


def is_dense(taps: Array, shape: Image) -> bool:
    """Whether the one place there is sees every value, in order."""
    return np.array_equal(taps, np.arange(np.prod(shape))[None])


def convolution(taps: Array, shape: Image) -> Window | None:
    """The window over all channels that has the taps [places, channels x kernel]."""
    channels, height, width = shape
    places, seen = taps.shape
    if seen % channels:
        return None
    area = seen // channels
    for tall in (each for each in range(1, area + 1) if area % each == 0):
        kernel = tall, area // tall
        inside = taps[0, :area].reshape(kernel) >= 0
        if not inside.any():
            continue
        padding = int(np.argmax(inside.any(1))), int(np.argmax(inside.any(0)))
        for window in _strides((height, width), kernel, padding, places):
            if np.array_equal(taps, _taps(shape, window)):
                return window
    return None


def pooling(taps: Array, shape: Image) -> Window | None:
    """The window over each channel by itself that has the taps [channels x places, kernel]."""
    channels, height, width = shape
    if len(taps) % channels:
        return None
    each = taps.reshape(channels, -1, taps.shape[1])
    first = np.arange(channels)[:, None, None] * height * width
    if not np.array_equal(each - first, np.broadcast_to(each[0], each.shape)):
        return None
    found = convolution(each[0], (1, height, width))
    return found if found and found.padding == (0, 0) else None


def _strides(size: Pair, kernel: Pair, padding: Pair, places: int) -> Iterator[Window]:
    """The windows that come to so many places; several strides may, of which one has the taps."""
    (height, width), (down, right) = size, padding
    rooms = height + 2 * down - kernel[0], width + 2 * right - kernel[1]
    if min(rooms) >= 0:
        # One beyond the room gives one place, as any larger one would.
        for stride in product(range(1, rooms[0] + 2), range(1, rooms[1] + 2)):
            high, wide = rooms[0] // stride[0] + 1, rooms[1] // stride[1] + 1
            if high * wide == places:
                yield Window(kernel, stride, padding, (high, wide))


def _taps(shape: Image, window: Window) -> Array:
    channels, height, width = shape
    rows, columns = windows((height, width), window.kernel, window.stride, window.padding)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    pixel = np.where(inside, rows * width + columns, -1)
    taps = [np.where(pixel >= 0, each * height * width + pixel, -1) for each in range(channels)]
    return np.concatenate(taps, axis=-1).reshape(len(pixel) * pixel.shape[1], -1)
