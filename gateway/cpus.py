"""How many CPUs this process may keep busy: the container's limit, not the host's count."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def available(limit_file: Path = _CGROUP_LIMIT) -> int:
    """The smaller of the scheduler's affinity mask and the cgroup v2 quota, at least 1."""
    count = len(os.sched_getaffinity(0))
    try:
        quota, period = limit_file.read_text().split()
    except (OSError, ValueError):  # no cgroup v2 here: the mask is all there is
        return count
    if quota == "max":
        return count
    return max(1, min(count, math.floor(int(quota) / int(period))))
