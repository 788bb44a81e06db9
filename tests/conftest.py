"""Settings all tests share: property tests repeat themselves, profiles are short."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from compilers.profiling import timing

# A busy machine is no defect, so no example has a time limit.
settings.register_profile(
    "farebox", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("farebox")


@pytest.fixture(autouse=True)
def short_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test asks how fast a model is, so none waits until that is known."""
    monkeypatch.setattr(timing, "CHUNK_RUNS", 3)
    monkeypatch.setattr(timing, "SPAN_S", 0.0)
    monkeypatch.setattr(timing, "LIMIT_S", 0.0)
