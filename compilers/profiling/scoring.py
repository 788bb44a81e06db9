"""Judge one variant on held-out rows: right answers, or fidelity to the reference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import numpy as np
from msgspec import Struct

from compilers.datasets import Data
from compilers.profiling import calls
from compilers.profiling.stats import binomial_interval, mean_interval
from model_repo.errors import BadInput
from model_repo.records import Model
from model_repo.runtime import Session
from model_repo.tensors import Array


class Score(Struct, frozen=True):
    """A figure of merit, its 95 % interval, and the rows it was taken on."""

    value: float
    low: float
    high: float
    samples: int


_EXACT = "OUSiub"
"""Kinds of NumPy arrays that hold answers, not scores: they are compared as they are."""

REFERENCE_SCORE = Score(1.0, 1.0, 1.0, 0)
"""The reference agrees with itself: nothing is measured, so there are no samples."""


def judge(
    session: Session, model: Model, data: Data, reference: Mapping[str, Array] | None
) -> Score:
    """Run the rows of `data` and score `model.scored_output` by `model.metric`.

    reference: the reference variant's outputs for the same rows, from `calls.compute`; needed
    unless the metric is accuracy. Raises BadInput when labels or reference are missing or do not
    fit the scored output, when it is of a kind of which no fidelity can be told, and when the
    reference's own answers are not finite.
    """
    given = calls.compute(session, model, data)[model.scored_output]
    wanted = None if reference is None else reference[model.scored_output]
    check_fidelity(model, given)
    if wanted is not None:
        _check_finite(model, wanted)
    if model.metric != "cosine":
        return share(right_rows(given, model, data.labels, wanted))
    cosines = row_cosines(given, _given(wanted, model))
    value = float(cosines.mean())
    low, high = mean_interval(value, len(cosines), -1.0, 1.0)
    return Score(value, low, high, len(cosines))


def right_rows(given: Array, model: Model, labels: Array | None, wanted: Array | None) -> Array:
    """Which rows of the scored output are right, [n]: as the labels, or the reference, have them.

    labels, wanted: the reference's scored output, for the rows of `given`. A row of scores that
    are not all finite is wrong, whatever its argmax. Raises BadInput if labels or reference are
    missing or do not fit, and for a metric that no row alone can meet or miss.
    """
    if model.metric == "agreement":
        wanted = _given(wanted, model)
        return _same(_decide(given), _decide(wanted)) & finite_rows(given) & finite_rows(wanted)
    if model.metric != "accuracy":
        raise BadInput(
            f"{model.name} is scored by {model.metric}, by which no row is right or wrong: "
            "choose the metric 'accuracy' or 'agreement'"
        )
    if labels is None:
        raise BadInput(f"{model.name} is scored by accuracy, but its data has no labels")
    return _same(answers(given, labels, model), labels[: len(given)]) & finite_rows(given)


def check_fidelity(model: Model, output: Array) -> None:
    """Raise BadInput if the metric is a fidelity that is near perfect whatever `output` holds.

    output: of some rows, [n, ...]. The argmax of one score is always 0, and the cosine of one
    number tells its sign alone.
    """
    if model.metric == "accuracy" or output.dtype.kind in _EXACT:
        return
    numbers = output.shape[1:]
    if (numbers or (1,))[-1] < 2 and (model.metric == "agreement" or math.prod(numbers) < 2):
        raise BadInput(
            f"no {model.metric} can be told of the output {model.scored_output!r} "
            f"{['n', *numbers]}, one number a row: it would be near perfect for any answer; "
            "export the model with two numbers a row or more, such as a score for each class"
        )


def finite_rows(output: Array) -> Array:
    """Which rows hold neither NaN nor infinity, [n]; answers that are no floats do."""
    if output.dtype.kind in _EXACT:
        return np.ones(len(output), bool)
    return np.asarray(np.isfinite(output).reshape(len(output), -1).all(axis=1))


def _check_finite(model: Model, wanted: Array) -> None:
    lost = ~finite_rows(wanted)
    if lost.any():
        raise BadInput(
            f"the reference answers NaN or infinity in {model.scored_output!r} to {lost.sum()} of "
            f"{len(lost)} held-out rows, to which no fidelity can be told: correct the data or "
            "the model"
        )


def share(right: Array) -> Score:
    """The share of right rows, with its interval."""
    value, total = int(right.sum()), len(right)
    low, high = binomial_interval(value, total)
    return Score(value / total, low, high, total)


def _given(reference: Array | None, model: Model) -> Array:
    if reference is None:
        raise BadInput(f"{model.name} is scored by {model.metric}, which needs the reference")
    return reference


def answers(output: Array, labels: Array, model: Model) -> Array:
    """What the output answers, in the terms of `labels`; raises BadInput if they do not compare."""
    name, shape = model.scored_output, list(output.shape)
    if output.dtype.kind not in _EXACT and (output.ndim < 2 or output.shape[-1] < 2):
        raise BadInput(
            f"the output {name!r} {shape} gives no class: accuracy takes scores [n, k], or an "
            "integer or string label for each row"
        )
    decided = _decide(output)
    if decided[:1].size > 1 >= labels[:1].size:
        raise BadInput(
            f"the output {name!r} {shape} gives {decided[:1].size} answers for each row, but "
            "accuracy compares one with the row's label: export the model with one"
        )
    if (decided.dtype.kind in "OUS") != (labels.dtype.kind in "OUS"):
        raise BadInput(
            f"the labels are {labels.dtype}, but the output {name!r} answers {decided.dtype}: "
            "give labels as the model names its classes"
        )
    if output.dtype.kind not in _EXACT:
        check_classes(labels, output.shape[-1], f"the output {name!r}")
    return decided


def check_classes(labels: Array, classes: int, what: str) -> None:
    """Raise BadInput unless the labels are numbers of classes that `what` gives scores for."""
    if labels.dtype.kind not in "iu":
        raise BadInput(
            f"the labels are {labels.dtype}, but {what} gives scores: number its classes, "
            f"0 to {classes - 1}, and give whole numbers"
        )
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if low < 0 or high >= classes:
        raise BadInput(
            f"the labels reach from {low} to {high}, but {what} scores {classes} classes: "
            f"give labels from 0 to {classes - 1}"
        )


def _decide(output: Array) -> Array:
    """Argmax over the last axis of scores; labels as they are, strings as text."""
    if output.dtype.kind in "OUS":
        text = [e.decode() if isinstance(e, bytes) else str(e) for e in output.ravel()]
        return np.array(text, dtype=object).reshape(output.shape)
    if output.dtype.kind in "iub" or output.ndim < 2:
        return output
    return cast(Array, output.argmax(-1))


def _same(given: Array, wanted: Array) -> Array:
    given, wanted = _decide_text(given), _decide_text(wanted)
    # A label column [n, 1] is the same answer as [n].
    equal = given.reshape(len(given), -1) == wanted.reshape(len(wanted), -1)
    rows: Array = equal.all(axis=1)
    return rows


def _decide_text(values: Array) -> Array:
    return _decide(values) if values.dtype.kind in "OUS" else values


def row_cosines(given: Array, wanted: Array) -> Array:
    """The cosine of each pair of rows, in [-1, 1]; two rows of zeros agree.

    It is -1 where a row holds NaN or infinity.
    """
    a = given.reshape(len(given), -1).astype(np.float64)
    b = wanted.reshape(len(wanted), -1).astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    same = (a == b).all(axis=1)
    finite = finite_rows(a) & finite_rows(b)
    dots = np.einsum("nk,nk->n", a, b)
    cosines = np.divide(dots, lengths, out=np.zeros_like(dots), where=(lengths != 0) & finite)
    return np.where(finite, np.where(same, 1.0, cosines.clip(-1.0, 1.0)), -1.0)
