"""Intervals and percentiles that say how far a measured figure can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from model_repo.tensors import Array

CONFIDENCE = 0.95


def binomial_interval(
    right: int, total: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """The exact interval of a proportion after `right` of `total` independent samples.

    Clopper & Pearson, Biometrika 26 (1934), in its Beta form: the ends are the alpha/2 quantile of
    Beta(right, total - right + 1) and the 1 - alpha/2 quantile of Beta(right + 1, total - right).
    It covers the true proportion at least as often as `confidence` says, for every total.
    """
    from scipy.special import betaincinv

    assert 0 <= right <= total, f"{right} right answers of {total} cannot be"
    alpha = 1.0 - confidence
    wrong = total - right
    low = float(betaincinv(right, wrong + 1, alpha / 2)) if right else 0.0
    high = float(betaincinv(right + 1, wrong, 1 - alpha / 2)) if wrong else 1.0
    return low, high


def mean_interval(
    mean: float, total: int, lowest: float, highest: float, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """The interval of a mean after `total` independent values that lie in [lowest, highest].

    Hoeffding, JASA 58 (1963), theorem 1, inverted: the true mean q, moved to [0, 1], satisfies
    total * kl(mean, q) <= ln(2 / alpha), where kl is the divergence of two Bernoulli variables.
    It needs no variance and no order of the values, and near an end of the range, where fidelity
    lies, it is two to three times narrower than the empirical-Bernstein bound.
    """
    if not total:
        return lowest, highest
    span = highest - lowest
    share = min(1.0, max(0.0, (mean - lowest) / span))
    bound = math.log(2.0 / (1.0 - confidence)) / total
    low = _farthest(share, 0.0, bound)
    high = _farthest(share, 1.0, bound)
    return lowest + span * low, lowest + span * high


def _farthest(share: float, end: float, bound: float) -> float:
    """The point between `share` and `end` whose divergence from `share` is `bound`."""
    inside, outside = share, end
    for _ in range(60):
        middle = (inside + outside) / 2
        inside, outside = (
            (middle, outside) if _divergence(share, middle) <= bound else (inside, middle)
        )
    return outside


def _divergence(p: float, q: float) -> float:
    """Kullback-Leibler divergence of Bernoulli(p) from Bernoulli(q), in nats."""
    if not 0.0 < q < 1.0:
        return 0.0 if p == q else math.inf
    left = p * math.log(p / q) if p else 0.0
    return left + ((1 - p) * math.log((1 - p) / (1 - q)) if p < 1 else 0.0)


def percentiles(values: Sequence[float] | Array, *percents: float) -> tuple[float, ...]:
    """Nearest-rank percentiles: each is a value that was seen, and they never cross."""
    found = np.percentile(np.asarray(values), percents, method="inverted_cdf")
    return tuple(float(value) for value in found)
