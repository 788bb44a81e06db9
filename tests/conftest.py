"""Settings all tests share: property tests repeat themselves and know no clock."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A busy machine is no defect, so no example has a time limit.
settings.register_profile(
    "farebox", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("farebox")
