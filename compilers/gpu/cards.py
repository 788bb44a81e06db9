"""The graphics cards that latencies are estimated for, and their published peaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Precision = Literal["fp32", "tf32", "bf16", "fp16", "int8"]


@dataclass(frozen=True)
class Card:
    """One card as its maker describes it; dense figures, not those for sparse matrices.

    peak: operations a second, a multiplication and an addition counted as two, without entries for
    precisions it has no units for. memory_bytes_s: to and from its memory. cache_bytes: its L2.
    host_bytes_s: to and from the host, one way. source: where the figures stand, and since when.
    """

    name: str
    capability: str
    peak: dict[Precision, float]
    memory_bytes_s: float
    memory_bytes: float
    cache_bytes: float
    host_bytes_s: float
    source: str
    price_name: str = ""

    @property
    def priced_as(self) -> str:
        """What price books call it."""
        return self.price_name or self.name


def _peak(fp32: float, tf32: float, half: float, int8: float) -> dict[Precision, float]:
    """Given in 10^12 operations a second; bf16 is as fast as fp16."""
    return {
        "fp32": fp32 * 1e12,
        "tf32": tf32 * 1e12,
        "bf16": half * 1e12,
        "fp16": half * 1e12,
        "int8": int8 * 1e12,
    }


GB, MIB = 1e9, 2**20
_HOPPER = _peak(67, 494.7, 989.4, 1978.9)
_TURING: dict[Precision, float] = {"fp32": 8.1e12, "fp16": 65e12, "int8": 130e12}

# Host links: PCIe 5.0, 4.0 and 3.0 x16 at 63, 31.5 and 15.8 GB/s one way, of which copies of
# pinned memory reach about 80 %.
CARDS = {
    card.name: card
    for card in (
        Card(
            "L4",
            "8.9",
            _peak(30.3, 60.5, 121, 242.5),
            *(300 * GB, 24 * GB, 48 * MIB, 25 * GB),
            "NVIDIA L4 datasheet, March 2023 (sparse figures halved); L2 from the Ada whitepaper",
        ),
        Card(
            "T4",
            "7.5",
            _TURING,
            *(320 * GB, 16 * GB, 4 * MIB, 12 * GB),
            "NVIDIA T4 datasheet, March 2019; no TF32 and no BF16; L2 from the Turing whitepaper",
        ),
        Card(
            "A100",
            "8.0",
            _peak(19.5, 156, 312, 624),
            *(1555 * GB, 40 * GB, 40 * MIB, 25 * GB),
            "NVIDIA A100 40GB SXM datasheet, and the Ampere whitepaper, May 2020",
            "A100-40GB",
        ),
        Card(
            "H100",
            "9.0",
            _HOPPER,
            *(3350 * GB, 80 * GB, 50 * MIB, 50 * GB),
            "NVIDIA H100 SXM datasheet, and the Hopper whitepaper, 2023 (sparse figures halved)",
        ),
        Card(
            "H200",
            "9.0",
            _HOPPER,
            *(4800 * GB, 141 * GB, 50 * MIB, 50 * GB),
            "NVIDIA H200 SXM datasheet, November 2023 (sparse figures halved)",
        ),
    )
}
