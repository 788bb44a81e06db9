"""Does a request fit its model, and may it share a batch."""

from __future__ import annotations

import numpy as np
import pytest
from builders import TOY
from msgspec.structs import replace

from gateway.core import signature
from gateway.core.request import InferRequest, OutputAsk
from model_repo.errors import BadInput
from model_repo.records import Model, TensorSpec
from model_repo.tensors import Array

TWO = Model(
    "two", "1",
    (TensorSpec("a", "FP32", (-1, -1)), TensorSpec("b", "INT64", (-1, 2))),
    (TensorSpec("y", "FP32", (-1, 3)), TensorSpec("z", "BYTES", (-1, 1))),
    True,
)  # fmt: skip


def request(inputs: dict[str, Array], *outputs: str) -> InferRequest:
    return InferRequest("m", "", inputs, 0.0, outputs=tuple(map(OutputAsk, outputs)))


def two(rows: int = 2, columns: int = 5, other: int | None = None) -> dict[str, Array]:
    b = np.zeros((rows if other is None else other, 2), np.int64)
    return {"a": np.zeros((rows, columns), np.float32), "b": b}


def test_rows_are_those_of_the_batch_axis() -> None:
    assert signature.rows(TWO, request(two(7))) == 7
    assert signature.rows(TWO, request(two(7), "z", "y")) == 7
    assert signature.rows(replace(TWO, batches=False), request(two(7))) == 1


@pytest.mark.parametrize(
    ("inputs", "outputs", "sentence"),
    [
        ({"a": two()["a"]}, (), "input 'b' is missing: model 'two' takes a, b"),
        ({**two(), "c": two()["a"]}, (), "input 'c' is unknown: model 'two' takes a, b"),
        ({**two(), "a": two()["b"]}, (), "'a' is FP32, but INT64"),
        ({**two(), "a": np.zeros(3, np.float32)}, (), r"'a' has the shape \[-1, -1\].*\[3\]"),
        ({**two(), "b": np.zeros((2, 9), np.int64)}, (), r"'b' has the shape \[-1, 2\].*\[2, 9\]"),
        (two(2, 5, 3), (), r"different batch sizes: \[2, 3\]"),
        (two(), ("q",), "output 'q' is unknown: model 'two' gives y, z"),
        (two(), ("y", "y"), "asked for twice: y, y"),
    ],
)
def test_what_does_not_fit_is_named(
    inputs: dict[str, Array], outputs: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        signature.rows(TWO, request(inputs, *outputs))


def test_only_like_shapes_share_a_batch_and_the_number_of_rows_does_not_matter() -> None:
    key = signature.merge_key(TWO, request(two(2, 5)))
    assert key is not None and key == signature.merge_key(TWO, request(two(9, 5)))
    assert key != signature.merge_key(TWO, request(two(2, 6)))
    assert signature.merge_key(replace(TWO, batches=False), request(two())) is None


def test_no_rows_are_answered_without_a_run() -> None:
    asked = request(two(0))
    assert signature.is_empty(asked, 0)
    outputs = signature.empty_outputs(TWO, 0)
    assert {n: (a.shape, a.dtype) for n, a in outputs.items()} == {
        "y": ((0, 3), np.dtype(np.float32)), "z": ((0, 1), np.dtype(object)),
    }  # fmt: skip


def test_rows_of_nothing_are_refused_rather_than_answered_with_too_few() -> None:
    asked = request(two(2, 0))
    assert signature.is_empty(asked, signature.rows(TWO, asked))
    with pytest.raises(BadInput, match="empty input cannot be run"):
        signature.empty_outputs(TWO, 2)


@pytest.mark.parametrize(
    "model",
    [replace(TOY, batches=False), replace(TOY, outputs=(TensorSpec("y", "FP32", (-1, -1)),))],
)
def test_an_output_whose_shape_depends_on_the_rows_cannot_be_made_up(model: Model) -> None:
    with pytest.raises(BadInput, match="send at least one row"):
        signature.empty_outputs(model, 0)
