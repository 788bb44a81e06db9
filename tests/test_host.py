"""A profile names the processor, what it is able to do, and the libraries."""

from __future__ import annotations

from pathlib import Path

import pytest

from compilers.profiling import host


def test_the_host_has_a_name_and_only_flags_that_matter() -> None:
    assert " cores, " in host.name()
    assert set(host.cpu_flags()) <= host.FLAGS
    assert list(host.cpu_flags()) == sorted(host.cpu_flags())
    there = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    assert set(host.cpu_flags()) == host.FLAGS & set(there)


def test_versions_are_those_installed() -> None:
    found = host.versions(["numpy", "no-such-package"])
    assert found["numpy"][0].isdigit() and found["no-such-package"] == "unknown"
    assert host.resident_bytes() > 2**20


def test_what_others_take_is_seen_and_our_own_work_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    spent = [(100.0, 50.0, 7.0), (110.0, 56.0, 9.0)]
    monkeypatch.setattr(host, "_spent", lambda: spent[0])
    others = host.Others()
    monkeypatch.setattr(host, "_spent", lambda: spent[1])
    assert others.share() == pytest.approx((6 - 2) / 10)
    spent[1] = spent[0]
    assert others.share() == 0.0


def test_cpu_time_is_read_from_the_system() -> None:
    all_s, busy_s, own_s = host._spent()
    assert all_s >= busy_s > 0 and own_s > 0
