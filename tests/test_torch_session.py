"""Batches run through buffers that stay in place for each shape, on the CPU as on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from model_repo import torch_session
from model_repo.errors import BadInput, Expired, Unavailable
from model_repo.records import Model, TensorSpec
from model_repo.torch_session import Tensors, TorchSession

MODEL = Model(
    "m", "1", (TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "FP32", (-1, 2)),), True
)


class Doubling:
    """Doubles its input; remembers what it was prepared for, and fails where it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.prepared: list[tuple[int, ...]] = []
        self.error = error

    def __call__(self, inputs: Tensors) -> Callable[[], Tensors]:
        self.prepared.append(tuple(inputs["x"].shape))

        def step() -> Tensors:
            if self.error:
                raise self.error
            return {"y": inputs["x"] * 2}

        return step


def x(rows: int, start: float = 0.0) -> Any:
    return np.arange(start, start + 2 * rows, dtype=np.float32).reshape(rows, 2)


def test_each_shape_is_prepared_once_and_its_buffers_are_used_again() -> None:
    doubling = Doubling()
    session = TorchSession(doubling, MODEL, "cpu")
    kept = []
    for rows, start in ((1, 0.0), (3, 5.0), (1, 9.0), (3, 1.0)):
        outputs, device_ns = session.run({"x": x(rows, start)})
        assert (outputs["y"] == 2 * x(rows, start)).all() and device_ns > 0
        kept.append((outputs["y"], 2 * x(rows, start)))
    assert doubling.prepared == [(1, 2), (3, 2)]
    assert all((given == wanted).all() for given, wanted in kept), "answers are the caller's own"


def test_the_shape_not_used_for_longest_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_session, "FRAMES", 2)
    doubling = Doubling()
    session = TorchSession(doubling, MODEL, "cpu")
    for rows in (1, 2, 1, 3, 1, 2):
        session.run({"x": x(rows)})
    assert doubling.prepared == [(1, 2), (2, 2), (3, 2), (2, 2)]


def test_arrays_may_be_read_only_or_in_pieces() -> None:
    session = TorchSession(Doubling(), MODEL, "cpu")
    frozen = x(3)
    frozen.flags.writeable = False
    for array in (frozen, x(6)[::2], np.asfortranarray(x(3))):
        assert (session.run({"x": array})[0]["y"] == 2 * array).all()


@pytest.mark.parametrize(
    ("raised", "becomes", "reason"),
    [
        (RuntimeError("size mismatch"), BadInput, "refused these inputs: size mismatch"),
        (torch.OutOfMemoryError("6 GiB"), Unavailable, "out of memory: 6 GiB"),
    ],
)
def test_what_torch_raises_becomes_one_of_ours(
    raised: Exception, becomes: type[Exception], reason: str
) -> None:
    session = TorchSession(Doubling(raised), MODEL, "cpu")
    with pytest.raises(becomes, match=reason):
        session.run({"x": x(1)})


def test_other_inputs_and_late_answers_are_refused() -> None:
    session = TorchSession(Doubling(), MODEL, "cpu")
    with pytest.raises(BadInput, match=r"it takes \['x'\], and \['z'\] were given"):
        session.run({"z": x(1)})
    with pytest.raises(Expired, match=r"longer than 1e-09 s"):
        session.run({"x": x(1)}, 1e-9)
    assert session.run({"x": x(1)}, 60.0)[0]["y"].shape == (1, 2)
    session.close()
