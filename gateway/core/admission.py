"""Who is let in: a bound on requests queued or running."""

from __future__ import annotations

from model_repo.errors import Unavailable


class Admission:
    """Counts requests in flight; refusing costs nothing but the error."""

    def __init__(self, max_in_flight: int) -> None:
        self.max_in_flight = max_in_flight
        self.in_flight = 0

    def check(self) -> None:
        """Raise Unavailable when full."""
        if self.in_flight >= self.max_in_flight:
            raise Unavailable(
                f"{self.in_flight} requests are in flight, the most that max_in_flight allows: "
                "try again shortly"
            )

    def enter(self) -> None:
        """One request was queued."""
        self.in_flight += 1

    def leave(self) -> None:
        """One request was answered, refused or given up."""
        self.in_flight -= 1
