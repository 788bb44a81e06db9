"""Run shelved cascades for real on held-out rows, and compare with what their stages foretell."""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from compilers.cascades.cascade import expected_latency
from compilers.commands.compile import find_recipe
from compilers.materials import Materials, gather
from compilers.plan import read_plan
from compilers.profiling import calls
from model_repo import cascades, runtime
from model_repo.confidence import margins
from model_repo.errors import BadInput
from model_repo.records import Cascade, LatencyPoint, Variant
from model_repo.runtime import Session
from model_repo.store import Store
from model_repo.table import render

ROUNDS = 100
TOLERANCE = 0.10
COLUMNS = ["cascade", "batch", "share held out", "here", "us/item foretold", "real", "ratio"]


def main() -> None:
    """Print device time foretold and real, and whether they agree within TOLERANCE.

    Raises BadInput if no cascade is shelved.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", nargs="?", default="topics")
    parser.add_argument("--repository", type=Path, required=True, help="compiled from the recipe")
    args = parser.parse_args()
    materials = gather(read_plan(find_recipe(args.recipe)), lambda _: None)
    store, lines = Store(args.repository), []
    variants = store.variants(materials.model.name, materials.model.version)
    for variant in filter(cascades.is_cascade, variants):
        cascade = cascades.read(store, variant)
        first, second = cascades.stages(cascade, variant, variants)
        sessions = [_open(store, stage, materials) for stage in (first, second)]
        sizes = [point.batch_size for point in variant.profile.latency]
        lines += Trial(variant.key.variant, cascade, *sessions, sizes, materials).lines()
    if not lines:
        raise BadInput(f"{materials.model.name} has no cascade in {args.repository}")
    worst = max(abs(float(line[-1]) - 1) for line in lines)
    print(render(COLUMNS, lines))
    print(f"worst {worst:.1%} off: {'met' if worst <= TOLERANCE else 'MISSED'} at {TOLERANCE:.0%}")


def _open(store: Store, stage: Variant, materials: Materials) -> Session:
    path = store.artifact(stage)
    return runtime.load(stage.artifact.format).open_session(path, materials.model)


@dataclass
class Trial:
    """One cascade. Its stages are timed anew, in turn with it: the machine's mood is in both.

    Times are medians: of a stage at each size, of a cascade at each number of rows that go on,
    weighted by how often it came up.
    """

    name: str
    cascade: Cascade
    first: Session
    second: Session
    sizes: list[int]
    materials: Materials

    def lines(self) -> list[list[str]]:
        """Run everything ROUNDS times."""
        rng = np.random.default_rng(0)
        alone: dict[tuple[int, int], list[int]] = defaultdict(list)
        whole: dict[int, dict[int, list[int]]] = {size: defaultdict(list) for size in self.sizes}
        total = len(self.materials.splits.held_out)
        # Sizes in random order, as batches come when serving: a batch that follows one of its own
        # size finds memory laid out for it, and takes less. Rows are drawn ahead, so that the same
        # little lies between any two runs.
        sizes = rng.permutation(np.repeat(self.sizes, ROUNDS))
        turns = [[rng.integers(total, size=size) for size in rng.permutation(sizes)] for _ in "123"]
        for first, second, both in zip(*turns, strict=True):
            alone[0, len(first)].append(self._run(self.first, first)[1])
            alone[1, len(second)].append(self._run(self.second, second)[1])
            device_ns, unsure = self._cascade(both)
            whole[len(both)][unsure].append(device_ns)
        points = [
            [self._point(alone[place, size], size) for size in self.sizes] for place in (0, 1)
        ]
        return [self._line(size, points, whole[size]) for size in self.sizes]

    def _point(self, device_ns: list[int], size: int) -> LatencyPoint:
        return LatencyPoint(size, 0.0, 0.0, 0.0, median(device_ns) / 1e9, len(device_ns))

    def _run(self, session: Session, rows: np.ndarray) -> tuple[dict[str, np.ndarray], int]:
        model, data = self.materials.model, self.materials.splits.held_out
        return session.run(calls.feed(model, data, rows))

    def _cascade(self, rows: np.ndarray) -> tuple[int, int]:
        outputs, device_ns = self._run(self.first, rows)
        unsure = rows[margins(outputs[self.cascade.output]) < self.cascade.threshold]
        if len(unsure):
            device_ns += self._run(self.second, unsure)[1]
        return device_ns, len(unsure)

    def _line(
        self, size: int, points: list[list[LatencyPoint]], seen: dict[int, list[int]]
    ) -> list[str]:
        """Foretold for the share that went on here, which chance moves about the profile's."""
        real_s = sum(median(ns) * len(ns) for ns in seen.values()) / ROUNDS / 1e9
        gone = sum(k * len(ns) for k, ns in seen.items()) / ROUNDS / size
        foretold = {point.batch_size: point.device_s for point in expected_latency(*points, gone)}
        return [
            self.name,
            str(size),
            f"{self.cascade.escalation:.3f}",
            f"{gone:.3f}",
            f"{foretold[size] / size * 1e6:.2f}",
            f"{real_s / size * 1e6:.2f}",
            f"{real_s / foretold[size]:.3f}",
        ]


if __name__ == "__main__":
    main()
