"""What Triton's statistics extension counts, for each variant; a model's are the sum of its own.

Times are whole nanoseconds. A request adds what its batch took, so that sum / count is what a
request saw; `executions` counts batches and `inferences` rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from model_repo.records import VariantKey

PARTS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
_NEVER = ("cache_hit", "cache_miss")  # there is no cache of answers
_COMPUTE = PARTS[3:]


class Took(Struct, frozen=True):
    """What a batch took: to be put together, to be computed, to be parted again."""

    input_ns: int
    infer_ns: int
    output_ns: int


class Stats:
    """Counts of one variant, or of several added up."""

    def __init__(self) -> None:
        self.last_ms = self.inferences = self.executions = 0
        self.counts = dict.fromkeys(PARTS, 0)
        self.sums = dict.fromkeys(PARTS, 0)
        self.batches: dict[int, list[int]] = {}

    def add(self, part: str, ns: int, count: int = 1) -> None:
        """`count` requests took `ns` together in one part of their way."""
        self.counts[part] += count
        self.sums[part] += ns

    def batch(self, rows: int, requests: int, took: Took) -> None:
        """A batch ended."""
        self.inferences += rows
        self.executions += 1
        times = (took.input_ns, took.infer_ns, took.output_ns)
        for part, ns in zip(_COMPUTE, times, strict=True):
            self.add(part, ns * requests, requests)
        known = self.batches.setdefault(rows, [0, 0, 0, 0])
        for place, value in enumerate((1, *times)):
            known[place] += value

    def take_in(self, other: Stats) -> None:
        """Add what another one counted."""
        self.last_ms = max(self.last_ms, other.last_ms)
        self.inferences += other.inferences
        self.executions += other.executions
        for part in PARTS:
            self.add(part, other.sums[part], other.counts[part])
        for rows, values in other.batches.items():
            known = self.batches.setdefault(rows, [0, 0, 0, 0])
            for place, value in enumerate(values):
                known[place] += value

    def document(self, model: str, version: str) -> dict[str, Any]:
        """A ModelStatistics message of Triton's protocol, as a plain document."""
        return {
            "name": model,
            "version": version,
            "last_inference": self.last_ms,
            "inference_count": self.inferences,
            "execution_count": self.executions,
            "inference_stats": {
                part: _pair(self.counts.get(part, 0), self.sums.get(part, 0))
                for part in (*PARTS, *_NEVER)
            },
            "batch_stats": [
                {
                    "batch_size": rows,
                    **{
                        part: _pair(values[0], ns)
                        for part, ns in zip(_COMPUTE, values[1:], strict=True)
                    },
                }
                for rows, values in sorted(self.batches.items())
            ],
        }


class Statistics:
    """The counts of every variant that served or ran, and of what failed before it had one."""

    def __init__(self) -> None:
        self._found: dict[VariantKey, Stats] = {}

    def of(self, key: VariantKey) -> Stats:
        """The counts of a variant, to add to; its name is "" for what failed without one."""
        stats = self._found.get(key)
        if stats is None:
            stats = self._found[key] = Stats()
        return stats

    def sum(self, model: str, version: str) -> Stats:
        """All of a model version."""
        return _sum(v for k, v in self._found.items() if (k.model, k.version) == (model, version))


def _sum(each: Iterable[Stats]) -> Stats:
    total = Stats()
    for stats in each:
        total.take_in(stats)
    return total


def _pair(count: int, ns: int) -> dict[str, int]:
    return {"count": count, "ns": ns}
