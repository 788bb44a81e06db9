"""What this machine is and has, as far as measured times depend on it."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_X86 = {"avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16"}
_AMX = {"amx_int8", "amx_bf16", "amx_fp16"}
_ARM = {"asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme"}
FLAGS = _X86 | _AMX | _ARM
"""Instruction sets that kernels are chosen by, as Linux spells them, on x86 and on Arm."""


def name() -> str:
    """The processor's name, its logical cores and the system."""
    model = _cpu("model name") or platform.processor() or platform.machine()
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def cpu_flags() -> tuple[str, ...]:
    """Those of FLAGS that the processor has, sorted."""
    return tuple(sorted(FLAGS & set((_cpu("flags") or _cpu("Features")).split())))


def machine() -> str:
    """What measured times depend on besides what is run."""
    return " ".join([name(), *cpu_flags()])


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The installed version of each package, or `unknown`."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a checkout that is not installed
            found[package] = "unknown"
    return found


def resident_bytes() -> int:
    """Memory this process holds now; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:  # no /proc on this system: the growth is unknown
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


class Others:
    """Watches, from when it is made, what CPU time this process leaves to none or to others."""

    def __init__(self) -> None:
        self._before = _spent()

    def share(self) -> float:
        """What other processes, and other guests of the machine, took of all CPUs since then."""
        all_s, busy_s, own_s = (
            now - then for now, then in zip(_spent(), self._before, strict=True)
        )
        return min(1.0, max(0.0, (busy_s - own_s) / all_s)) if all_s else 0.0


def _spent() -> tuple[float, float, float]:
    """CPU seconds since the start: of all CPUs, those of them not idle, and this process's own."""
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    except OSError:  # no /proc on this system: who else is there is unknown
        return 0.0, 0.0, 0.0
    ticks = [int(field) / os.sysconf("SC_CLK_TCK") for field in first.split()[1:9]]
    return sum(ticks), sum(ticks) - ticks[3] - ticks[4], time.process_time()


@cache
def _cpu(key: str) -> str:
    """What /proc/cpuinfo says of the first processor under `key`; "" if nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # no /proc on this system
        return ""
    facts = (line.partition(":") for line in lines)
    return next((value.strip() for found, _, value in facts if found.strip() == key), "")
