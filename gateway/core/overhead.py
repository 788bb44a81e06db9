"""The gateway's own part of a request's latency, estimated live from the requests it answers."""

from __future__ import annotations

START_S = 0.0005


class Overhead:
    """Mean plus four mean deviations: the estimator of RFC 6298 (Jacobson), gains 1/8 and 1/4.

    margin_s: a setting, kept back from every latency bound besides the estimate.
    """

    def __init__(self, margin_s: float) -> None:
        self._margin_s = margin_s
        self._mean_s, self._deviation_s = START_S, 0.0
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
        self.estimate_s = self._mean_s + 4 * self._deviation_s
        self._least_s = min(self._least_s, self.estimate_s)
