"""CPUs by the container's limit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway import cpus

MASK = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("max 100000", MASK),
        ("100000 100000", 1),
        ("199999 100000", 1),
        ("50000 100000", 1),
        ("100000000 100000", MASK),
        ("", MASK),
        ("nonsense", MASK),
    ],
)
def test_the_smaller_of_mask_and_quota(tmp_path: Path, text: str, count: int) -> None:
    limit = tmp_path / "cpu.max"
    limit.write_text(text)
    assert cpus.available(limit) == count


def test_without_a_quota_the_mask_stands(tmp_path: Path) -> None:
    assert cpus.available(tmp_path / "none") == MASK
    assert 1 <= cpus.available() <= MASK
