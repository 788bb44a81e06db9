"""What a TPU chip can do at most, and how long that makes a compiled program take."""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec

from model_repo.errors import BadInput


@dataclass(frozen=True)
class Chip:
    """Published peaks of one chip: bf16 operations and bytes of memory a second, bytes of memory.

    clock_hz: of its cores.
    """

    peak_flops: float
    memory_bytes_s: float
    memory_bytes: int
    clock_hz: float


CHIPS = {
    "v5e": Chip(197e12, 819e9, 16 * 10**9, 1.5e9),
    "v6e": Chip(918e12, 1.64e12, 32 * 10**9, 1.75e9),
}
"""Peaks: the vendor's pages "TPU v5e" and "TPU v6e" (cloud.google.com/tpu/docs). Clock of v5e: its
peak over 2 operations in each of 128 x 128 cells of 4 multipliers (jax's own table of chips); that
of v6e is not published, and what follows in the same way for v5p, the one before, stands for it."""
PASSES = {"highest": 6, "high": 3, "default": 1}
"""Products of bf16 that one of fp32 takes (jax.lax.Precision)."""


class Compiled(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the TPU's compiler says of one program at one batch size.

    optimal_s: XLA's cost analysis, as it stands. cycles: the sum of the cost model's figures that
    the compiler notes on each operation. passes: see PASSES, of the dearest product.
    """

    topology: str
    batch_size: int
    flops: float
    bytes_accessed: float
    optimal_s: float
    cycles: int
    passes: int
    memory_bytes: int


def chip_of(topology: str) -> Chip:
    """The chip a topology is made of, as in v5e:2x2; raises BadInput naming those known."""
    name, _, shape = topology.partition(":")
    if name not in CHIPS or shape not in ("1x1", "2x2"):
        known = ", ".join(f"{each}:2x2" for each in CHIPS)
        raise BadInput(f"there is no TPU topology {topology!r} here: choose among {known}")
    return CHIPS[name]


def corrected(optimal_s: float) -> float:
    """`optimal_seconds` without its sentinels: each call of unknown cost takes a second off.

    It is a float of 32 bits, so what is left is known to half a step of the raw value: the lower
    end of that.
    """
    if optimal_s >= 0:
        return optimal_s
    return max(0.0, optimal_s % 1 - math.ulp(1.0) * 2**29 * abs(optimal_s) / 2)


def span(compiled: Compiled, chip: Chip) -> tuple[float, float]:
    """The least and the most seconds that a chip is likely to take.

    Least: what XLA's cost analysis calls optimal, a lower bound. Most: the greatest of that, of
    the compiler's own cycles, and of a roofline whose products and memory do not overlap.
    """
    low = corrected(compiled.optimal_s)
    products = compiled.flops * compiled.passes / chip.peak_flops
    roofline = products + compiled.bytes_accessed / chip.memory_bytes_s
    counted = compiled.cycles / chip.clock_hz
    return low, max(low, roofline, counted)
