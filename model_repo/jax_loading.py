"""Imports jax quietly, on the processors that this machine has, one CPU thread a run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from model_repo.errors import MissingExtra

_START = {
    # XLA's pool of threads then has one, and what has one thread is run by whoever calls.
    "PJRT_NPROC": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # Without them libtpu asks a cloud's metadata server which TPU this is, and leaves a log file.
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_LOG_DIR": "disabled",
}
"""What is only read while jax starts, and is put back after it."""
_TPUS = ("accel[0-9]*", "vfio/[0-9]*")
_CUDA = ("jax_cuda12_plugin", "jax_cuda13_plugin")


@cache
def load_jax() -> Any:
    """The package, with its devices found; computing is done in the calling thread."""
    check("running StableHLO")
    with _environment():
        jax: Any = import_module("jax")
        import_module("jax.export")
        # With libtpu installed to compile for it, jax would look for a TPU and complain.
        if not jax.config.jax_platforms and not (_has_tpu() or _has_cuda()):
            jax.config.update("jax_platforms", "cpu")
        # Else a thread of XLA's computes, whose time is not seen from here.
        jax.config.update("jax_cpu_enable_async_dispatch", False)
        jax.devices()
    return jax


def check(needed_for: str) -> None:
    """Raise MissingExtra unless jax, and what reads its files, are installed."""
    for name in ("jax", "jaxlib", "flatbuffers"):
        if find_spec(name) is None:
            raise MissingExtra(needed_for, name, "tpu")


def _has_tpu() -> bool:
    devices = Path("/dev")
    is_found = any(next(devices.glob(pattern), None) for pattern in _TPUS)
    return is_found and find_spec("libtpu") is not None


def _has_cuda() -> bool:
    return Path("/dev/nvidiactl").exists() and any(find_spec(name) for name in _CUDA)


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    given = {name: os.environ.get(name) for name in _START}
    for name, value in _START.items():
        os.environ.setdefault(name, value)
    try:
        yield
    finally:
        for name, before in given.items():
            if before is None:
                del os.environ[name]
