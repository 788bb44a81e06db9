"""Accuracy, agreement and cosine, on real sessions and on odd outputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from onnx_files import linear

from compilers.datasets import Data
from compilers.profiling import calls, scoring
from model_repo import runtime
from model_repo.errors import BadInput
from model_repo.records import Metric, Model, TensorSpec
from model_repo.tensors import Array


class Echo:
    """Answers its input `x` as the output `y`."""

    def run(
        self, inputs: Mapping[str, Array], limit_s: float | None = None
    ) -> tuple[dict[str, Array], int]:
        return {"y": inputs["x"]}, 1

    def close(self) -> None: ...


def model(
    metric: Metric, shape: tuple[int, ...], datatype: str = "FP32", batches: bool = True
) -> Model:
    specs = (TensorSpec("x", datatype, shape),), (TensorSpec("y", datatype, shape),)
    return Model("m", "1", *specs, batches, metric, "y")


def echo(
    metric: Metric,
    given: Array,
    labels: Array | None = None,
    reference: Array | None = None,
    batches: bool = True,
) -> scoring.Score:
    wanted = None if reference is None else {"y": reference}
    shape = (-1, *given.shape[1:])
    return scoring.judge(
        Echo(), model(metric, shape, batches=batches), Data({"x": given}, labels), wanted
    )


def test_accuracy_of_scores_is_the_share_of_right_argmaxes() -> None:
    score = echo("accuracy", np.eye(4, dtype=np.float32), np.array([0, 1, 2, 0]))
    assert (score.value, score.samples) == (0.75, 4)
    assert score.low < 0.75 < score.high


@pytest.mark.parametrize(
    ("answers", "labels"),
    [
        (np.array([1, 2, 3]), np.array([1, 2, 4])),
        (np.array([[1], [2], [3]]), np.array([1, 2, 4])),
        (np.array([b"a", b"b", b"c"], object), np.array(["a", "b", "x"])),
        (np.array([True, False, True]), np.array([1, 0, 0])),
    ],
)
def test_accuracy_of_labels_is_equality(answers: Array, labels: Array) -> None:
    assert echo("accuracy", answers, labels).value == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("given", "labels", "reason"),
    [
        (np.ones((3, 1), np.float32), np.array([1, 1, 1]), "gives no class"),
        (np.ones(3, np.float32), np.array([1, 1, 1]), "gives no class"),
        (np.array(["a", "b"], object), np.array([0, 1]), "give labels as the model names"),
        (np.array([0, 1]), None, "no labels"),
        (np.eye(3), np.array([50, 51, 52]), "from 50 to 52, but .* scores 3 classes: .* 0 to 2"),
        (np.eye(3), np.array([0, -1, 2]), "from -1 to 2"),
        (np.eye(3), np.array([True, False, True]), "labels are bool"),
        (np.ones((3, 2, 4)), np.array([1, 1, 1]), "gives 2 answers for each row"),
        (np.ones((3, 2), np.int64), np.array([1, 1, 1]), "gives 2 answers for each row"),
    ],
)
def test_labels_that_cannot_be_compared_are_refused(
    given: Array, labels: Array | None, reason: str
) -> None:
    with pytest.raises(BadInput, match=reason):
        echo("accuracy", given, labels)


def test_agreement_compares_decisions_not_scores() -> None:
    score = echo(
        "agreement",
        np.array([[0.2, 0.8], [0.6, 0.4]]),
        reference=np.array([[0.1, 0.9], [0.4, 0.6]]),
    )
    assert (score.value, score.samples) == (0.5, 2)


def test_fidelity_without_a_reference_is_refused() -> None:
    with pytest.raises(BadInput, match="needs the reference"):
        echo("agreement", np.eye(2))


def test_cosine_of_opposite_equal_zero_and_broken_rows() -> None:
    given = np.array([[1.0, 0], [1, 0], [0, 0], [np.nan, 1]])
    wanted = np.array([[2.0, 0], [-1, 0], [0, 0], [1, 1]])
    assert scoring.row_cosines(given, wanted).tolist() == [1.0, -1.0, 1.0, -1.0]
    score = echo("cosine", given, reference=wanted)
    assert score.value == 0.0 and score.low < 0.0 < score.high and score.samples == 4


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 200])
def test_every_row_is_judged_in_order_whatever_the_batch(rows: int) -> None:
    given = np.arange(rows, dtype=np.float32).reshape(rows, 1)
    data = Data({"x": given})
    assert (calls.compute(Echo(), model("cosine", (-1, 1)), data)["y"] == given).all()
    alone = model("cosine", (-1, 1), batches=False)
    assert (calls.compute(Echo(), alone, data)["y"] == given).all()


def test_a_fixed_first_axis_takes_blocks_and_leaves_the_rest() -> None:
    given = np.arange(14, dtype=np.float32).reshape(7, 2)
    fixed = model("cosine", (3, 2), batches=False)
    assert (calls.compute(Echo(), fixed, Data({"x": given}))["y"] == given[:6]).all()
    with pytest.raises(BadInput, match="takes 3 rows a call, but 2 were given"):
        calls.compute(Echo(), fixed, Data({"x": given[:2]}))


def test_a_row_may_be_a_whole_call() -> None:
    given = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    fixed = model("cosine", (3, 2), batches=False)
    assert (calls.compute(Echo(), fixed, Data({"x": given}))["y"] == given).all()
    scalar = model("cosine", (), batches=False)
    outputs = calls.compute(Echo(), scalar, Data({"x": np.arange(3.0)}))
    assert outputs["y"].tolist() == [0.0, 1.0, 2.0]


def test_a_real_model_agrees_with_itself(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx")
    specs = (TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", (-1, 3)),)
    subject = Model("m", "1", *specs, True, "agreement", "y")
    session = runtime.load("onnx_graph").open_session(path, subject)
    data = Data({"x": np.random.default_rng(0).random((100, 4), np.float32)})
    score = scoring.judge(session, subject, data, calls.compute(session, subject, data))
    assert (score.value, score.high, score.samples) == (1.0, 1.0, 100)
    assert score.low == pytest.approx(0.9638, abs=1e-4)


@pytest.mark.parametrize(
    ("metric", "shape", "refused"),
    [
        ("agreement", (3, 1), True),
        ("agreement", (3,), True),
        ("agreement", (3, 5, 1), True),
        ("cosine", (3, 1), True),
        ("cosine", (3,), True),
        ("cosine", (3, 1, 1), True),
        ("cosine", (3, 5, 1), False),
        ("agreement", (3, 2), False),
    ],
)
def test_no_fidelity_is_told_of_one_number_a_row(
    metric: Metric, shape: tuple[int, ...], refused: bool
) -> None:
    given, wanted = np.ones(shape, np.float32), np.full(shape, 9, np.float32)
    if refused:
        with pytest.raises(BadInput, match=f"no {metric} can be told of the output 'y'"):
            echo(metric, given, reference=wanted)
    else:
        assert echo(metric, given, reference=wanted).value == pytest.approx(1)


def test_labels_one_a_row_still_agree_or_not() -> None:
    score = echo("agreement", np.array([1, 2, 3]), reference=np.array([1, 2, 4]))
    assert score.value == pytest.approx(2 / 3)


def test_answers_that_are_not_finite_are_wrong() -> None:
    broken = np.array([[np.nan, np.nan], [np.inf, 0], [1, -np.inf], [1, 0]], np.float32)
    assert echo("accuracy", broken, np.zeros(4, np.int64)).value == 0.25
    sound = np.array([[1, 0]] * 4, np.float32)
    assert echo("agreement", broken, reference=sound).value == 0.25
    assert scoring.row_cosines(broken, sound).tolist() == [-1, -1, -1, 1]
    assert scoring.row_cosines(broken, broken).tolist() == [-1, -1, -1, 1]
    both = scoring.right_rows(broken, model("agreement", (-1, 2)), None, broken)
    assert both.tolist() == [False, False, False, True]


@pytest.mark.parametrize("metric", ["agreement", "cosine"])
def test_fidelity_to_answers_that_are_not_finite_is_refused(metric: Metric) -> None:
    broken = np.array([[np.nan, 1], [0, 1], [0, np.inf]])
    with pytest.raises(BadInput, match="infinity in 'y' to 2 of 3 held-out rows"):
        echo(metric, np.ones((3, 2)), reference=broken)
