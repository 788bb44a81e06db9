"""The bound on requests in flight, and the closed door."""

from __future__ import annotations

import pytest

from gateway.core.admission import Admission
from model_repo.errors import Unavailable


def test_the_bound_is_kept_and_named() -> None:
    door = Admission(2)
    for _ in range(2):
        door.check()
        door.enter()
    with pytest.raises(Unavailable, match=r"2 requests are in flight.*max_in_flight") as caught:
        door.check()
    assert caught.value.retry_after_s > 0
    door.leave()
    door.check()
