"""Every size is run in every slot before a caller meets it, and a slow model is not waited for."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest

from gateway import warm_up
from model_repo.errors import BadInput
from model_repo.records import Model, TensorSpec
from model_repo.tensors import Array

SPECS = (TensorSpec("x", "FP32", (-1, 3, -1)), TensorSpec("s", "BYTES", (-1, 1)))
MODEL = Model("m", "1", SPECS, (TensorSpec("y", "FP32", (-1, 2)),), True)


class Recorded:
    """A session that notes what it is given; both slots wait for each other at the first run."""

    def __init__(self, slots: int = 1, error: Exception | None = None) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.error = error
        self._both = threading.Barrier(slots, timeout=10)

    def run(
        self, inputs: Mapping[str, Array], limit_s: float | None = None
    ) -> tuple[dict[str, Array], int]:
        if inputs["x"].shape[0] == 1:
            self._both.wait()
        if self.error:
            raise self.error
        assert inputs["s"].shape == (len(inputs["x"]), 1)
        self.shapes.append(inputs["x"].shape)
        return {}, 0

    def close(self) -> None:
        """Nothing to give back."""


def test_every_size_is_run_in_every_slot() -> None:
    session = Recorded(slots=2)
    warm_up.warm_up(session, MODEL, 3, 2)
    assert sorted(session.shapes) == [(n, 3, 1) for n in (1, 1, 2, 2, 3, 3)]


def test_a_slow_model_runs_but_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_up, "MOST_S", 0.0)
    session = Recorded()
    warm_up.warm_up(session, MODEL, 8, 1)
    assert session.shapes == [(1, 3, 1)]


def test_a_model_that_does_not_batch_runs_as_it_is() -> None:
    specs = (TensorSpec("x", "FP32", (2, 3)), TensorSpec("s", "BYTES", (2, 1)))
    session = Recorded()
    warm_up.warm_up(session, Model("m", "1", specs, MODEL.outputs, False), 8, 1)
    assert session.shapes == [(2, 3)]


def test_a_model_that_refuses_zeros_is_no_error() -> None:
    warm_up.warm_up(Recorded(error=BadInput("zeros")), MODEL, 4, 1)


def test_a_model_that_cannot_run_at_all_is_one() -> None:
    with pytest.raises(MemoryError, match="too large"):
        warm_up.warm_up(Recorded(error=MemoryError("too large")), MODEL, 4, 1)
