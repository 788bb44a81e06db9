"""Finds the GPU of this machine through its driver, so that asking costs no heavy library."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

from model_repo.errors import Expired, MissingDevice, MissingExtra

DRIVER = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_TURN = threading.Lock()


class Gpu(NamedTuple):
    """One card: `capability` is its compute capability, such as "8.9"."""

    name: str
    capability: str


@cache
def find() -> Gpu | None:
    """The first card that the driver lets this process see; None where there is none."""
    try:
        driver: Any = ctypes.CDLL(DRIVER)
    except OSError:
        return None
    count, device = ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return None
    driver.cuDeviceGet(ctypes.byref(device), 0)
    name = ctypes.create_string_buffer(256)
    driver.cuDeviceGetName(name, len(name), device)
    numbers = []
    for attribute in (_MAJOR, _MINOR):
        value = ctypes.c_int()
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        numbers.append(str(value.value))
    return Gpu(name.value.decode(errors="replace"), ".".join(numbers))


def is_ready() -> bool:
    """Whether there is a GPU, and a torch that can use it."""
    if find() is None or find_spec("torch") is None:
        return False
    import torch

    return bool(torch.cuda.is_available())


def check(needed_for: str) -> None:
    """Raise MissingDevice without a GPU, which no package brings, MissingExtra without torch."""
    gpu = find()
    if gpu is None:
        raise MissingDevice(
            f"{needed_for} takes an NVIDIA GPU and its driver, and this machine has none: serve "
            "it on one that has, or choose another variant here"
        )
    if find_spec("torch") is None:
        raise MissingExtra(needed_for, "torch", "gpu")
    if not is_ready():
        raise MissingDevice(
            f"{needed_for} takes a torch with CUDA, and the one installed cannot use the "
            f"{gpu.name} of this machine: install one made for its driver"
        )


@contextmanager
def turn(limit_s: float | None) -> Iterator[None]:
    """Hold the GPU alone: it is one device, and a run is charged for all of the time it holds it.

    Raises Expired once it has waited for `limit_s` seconds.
    """
    if not _TURN.acquire(timeout=-1 if limit_s is None else limit_s):
        raise Expired(f"all {limit_s} s went by in waiting for the GPU")
    try:
        yield
    finally:
        _TURN.release()
