"""A profile names the processor, what it is able to do, and the libraries."""

from __future__ import annotations

from pathlib import Path

from compilers import host


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
