"""Choose how sure a first stage must be, so that a cascade's risk stays under a bound."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from model_repo.errors import BadInput
from model_repo.tensors import Array


def threshold(margins: Array, is_costly: Array, risk: float) -> float:
    """The smallest t for which accepting rows of margin >= t costs at most `risk` of the answers.

    margins, [n]: how sure the first stage is of each calibration row. is_costly, [n]: whether
    accepting the row costs a right answer: the first stage is wrong where the second is right.

    Conformal risk control (Angelopoulos et al. 2022, arXiv:2208.02814, theorem 1). The loss of row
    i at t is L_i(t) = [margin_i >= t and row i is costly]; it is at most B = 1 and falls as t
    rises. With R(t) the mean loss of the n rows, the smallest t that satisfies

        n / (n + 1) R(t) + B / (n + 1) <= risk

    has E[L(t)] <= risk for a further row that is exchangeable with the n, whatever the stages, the
    data and n are. The expectation is over the calibration rows too: it bounds the average of many
    calibrations, not each one of them.

    t lies just above a margin, in the margins' own datatype, so that equal margins go the same way
    here and where the comparison is made when serving.
    Raises BadInput where no t will do, and for n < 1 / risk - 1 none will, however sure the stage.
    """
    total = len(margins)
    allowed = math.floor(Fraction(str(risk)) * (total + 1)) - 1
    if allowed < 0:
        raise BadInput(
            f"{total} rows cannot bound the risk by {risk:g}, even without one wrong answer among "
            f"them: give {fewest_rows(risk)} or more rows under splits, conformal, or raise the "
            "risk"
        )
    # A row under every threshold, of a margin below 0, is never accepted.
    costly = np.sort(margins[is_costly & (margins >= 0)])[::-1]
    if len(costly) <= allowed:
        return 0.0
    least = np.nextafter(costly[allowed], np.array(np.inf, margins.dtype))
    if not np.isfinite(least):
        raise BadInput(
            "the first stage is wrong where its margin is infinite, so that no threshold bounds "
            "the risk: leave the pair out"
        )
    return float(least)


def fewest_rows(risk: float) -> int:
    """The fewest calibration rows with which some threshold bounds the risk."""
    return max(1, math.ceil(1 / Fraction(str(risk)) - 1))
