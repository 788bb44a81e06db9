"""The gateway's own part of a request's latency, estimated live from the requests it answers."""

from __future__ import annotations

START_S = 0.0005
PEAK_KEPT = 63 / 64  # of the peak, with each request: half of it is forgotten in 44


class Overhead:
    """Mean plus four mean deviations: the estimator of RFC 6298 (Jacobson), gains 1/8 and 1/4.

    It is never more than the largest that was seen lately: a hiccup of the machine delays every
    request in flight alike, and their deviations would add up to far more than it took.

    margin_s: a setting, kept back from every latency bound besides the estimate.
    """

    def __init__(self, margin_s: float) -> None:
        self._margin_s = margin_s
        self._mean_s, self._deviation_s, self._peak_s = START_S, 0.0, START_S
        self.estimate_s = self._least_s = START_S

    @property
    def kept_back_s(self) -> float:
        """Taken off a latency bound to leave what queue and service may take."""
        return self.estimate_s + self._margin_s

    @property
    def least_kept_back_s(self) -> float:
        """The least it ever was: what no request can do without, even on an idle gateway."""
        return self._least_s + self._margin_s

    def lean_back(self) -> None:
        """It alone refused a request, and no answer is on its way that could correct it.

        Without this, one slow moment would refuse tight latency bounds for ever.
        """
        self.observe(self._least_s)

    def observe(self, seconds: float) -> None:
        """Take in what one request took besides queue and run."""
        self._deviation_s += (abs(seconds - self._mean_s) - self._deviation_s) / 4
        self._mean_s += (seconds - self._mean_s) / 8
        self._peak_s = max(seconds, self._peak_s * PEAK_KEPT)
        self.estimate_s = min(self._mean_s + 4 * self._deviation_s, self._peak_s)
        self._least_s = min(self._least_s, self.estimate_s)
