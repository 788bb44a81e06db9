"""A GPU is found through its driver, and what lacks is said: the card, or a torch that uses it."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from model_repo import cuda
from model_repo.errors import Expired, MissingDevice, MissingExtra


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    cuda.find.cache_clear()
    yield
    cuda.find.cache_clear()


class Driver:
    """What libcuda answers on a machine with `count` cards."""

    def __init__(self, count: int, status: int = 0) -> None:
        self.count, self.status = count, status

    def cuInit(self, flags: int) -> int:
        return self.status

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self.count
        return 0

    def cuDeviceGet(self, device: Any, number: int) -> int:
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:
        name.value = b"NVIDIA L4"
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:
        value._obj.value = {75: 8, 76: 9}[attribute]
        return 0


def install(monkeypatch: pytest.MonkeyPatch, driver: Driver | None) -> None:
    def load(name: str) -> Any:
        assert name == "libcuda.so.1"
        if driver is None:
            raise OSError("no such file")
        return driver

    monkeypatch.setattr(ctypes, "CDLL", load)


@pytest.mark.parametrize("driver", [None, Driver(0), Driver(1, status=100)])
def test_without_a_driver_or_a_card_there_is_no_gpu(
    driver: Driver | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, driver)
    assert cuda.find() is None and not cuda.is_ready()
    with pytest.raises(MissingDevice, match="this takes an NVIDIA GPU and its driver"):
        cuda.check("this")


def test_a_card_has_a_name_and_a_compute_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Driver(1))
    assert cuda.find() == cuda.Gpu("NVIDIA L4", "8.9")


def test_a_torch_without_cuda_is_told_from_a_missing_card(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Driver(1))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MissingDevice, match="cannot use the NVIDIA L4 of this machine"):
        cuda.check("this")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert cuda.is_ready()
    cuda.check("this")


def test_a_missing_torch_names_the_extra_beside_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Driver(1))
    monkeypatch.setattr(cuda, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"'torch'.*farebox\[gpu\]"):
        cuda.check("this")


def test_one_at_a_time_holds_the_gpu() -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with cuda.turn(None):
            held.set()
            done.wait(10)

    other = threading.Thread(target=hold)
    other.start()
    held.wait(10)
    with pytest.raises(Expired, match="waiting for the GPU"), cuda.turn(0.01):
        raise AssertionError("it is held")
    done.set()
    other.join()
    with cuda.turn(0.01):
        pass
