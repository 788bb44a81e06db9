"""The search itself: propose, try for a few epochs, go on with the best, until time is up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import log

import msgspec
import numpy as np

from compilers.cache import Cache
from compilers.search import space
from compilers.search.alike import dead_end, leads, name_of, shape_of, training
from compilers.search.found import spell
from compilers.search.front import Point, best_first, dominates, ranks
from compilers.search.halving import KEPT, SHARES, TOP, Rungs
from compilers.search.space import Space, Steps
from compilers.search.trials import Measured, Trial, Trials, reason_of, scaled
from compilers.search.watch import OutOfTime, Watch
from model_repo.errors import FareboxError

TOLERATED = 0.05
"""Accuracy under the reference's that is still of interest; more if the recipe's own goes lower."""
PARENTS = 9
UNUSABLE = 1e3
"""Above every figure of a recipe that is accurate enough."""

Prices = Callable[[str], float]
"""Target -> usd of one device-second."""


@dataclass
class Search:
    """One search: what was tried, under its name, and what came of it on each rung.

    It is a function of the seed and of what was measured, which is kept: the same search begun
    again finds what it found before, and goes on from there.
    """

    space: Space
    trials: Trials
    watch: Watch
    cache: Cache
    usd_per_device_s: Prices
    seed: int
    steps: dict[str, Steps] = field(default_factory=dict)
    best: dict[str, Measured] = field(default_factory=dict)
    """Of those tried in full: the cheapest format."""
    costs: dict[str, Measured] = field(default_factory=dict)
    """Of each shape of network: its least times, trained or not."""
    own: set[str] = field(default_factory=set)
    """The variants that the recipe has already."""
    rungs: Rungs = field(default_factory=Rungs)
    trained: list[set[str]] = field(default_factory=lambda: [{training(())} for _ in SHARES])
    """On each rung, the trainings that were gone through: see `training`."""
    floor: float = 0.0
    ended: int = 0
    failed: int = 0
    is_exhausted: bool = False
    said: set[str] = field(default_factory=set)
    """Why trials failed: each reason is told once."""
    ends: set[str] = field(default_factory=set)
    """Of what failed: see `dead_end`. Nothing that begins so is proposed again."""

    def run(self, own: Sequence[Steps]) -> None:
        """Measure the recipe's own variants, the reference first, then explore till time is up.

        Trials that are kept from before cost no time, so all of them are found again.
        """
        try:
            self._begin(own)
            turn = 0
            while True:
                job = self.rungs.promotable()
                if job is None:
                    name = self._propose(turn)
                    if name is None:
                        self.is_exhausted = True
                        return
                    job, turn = (name, self._entry(self.steps[name])), turn + 1
                self._advance(*job)
        except OutOfTime:
            return

    def _advance(self, name: str, rung: int) -> None:
        """Try it there, unless that takes training that cannot pay."""
        takes_training = self._entry(self.steps[name]) < rung or not rung
        if takes_training and self._is_hopeless(name):
            self.rungs.settle(name, rung, None)
        else:
            self._try(name, rung)

    def _begin(self, own: Sequence[Steps]) -> None:
        for steps in own:
            name = name_of(steps)
            self.steps[name] = steps
            self.own.add(name)
            self._try(name, TOP)
        reference = name_of(own[0])
        if reference not in self.best:
            raise FareboxError("the reference cannot be measured on validation rows: see above")
        lowest = min(measured.accuracy for measured in self.best.values())
        self.floor = min(lowest, self.best[reference].accuracy - TOLERATED)

    def _propose(self, turn: int) -> str | None:
        """The name of a recipe that was not tried yet; None if there seems to be none."""
        rng = np.random.default_rng([self.seed, turn])
        chains = space.proposals(self.space, self._parents(), rng)
        steps = space.fresh(chains, self.trials.admit, self._is_known)
        if steps is None:
            return None
        self.steps[name_of(steps)] = steps
        return name_of(steps)

    def _is_known(self, steps: Steps) -> bool:
        """Whether it was tried, or fails as another did."""
        return name_of(steps) in self.steps or leads(steps, self.ends)

    def _is_hopeless(self, name: str) -> bool:
        """Whether it would be matched even if training made it perfect, by its costs untrained.

        What a network costs does not depend on how well it is trained.
        """
        shape = shape_of(self.steps[name])
        if shape not in self.costs and self._measure(name, 0.0) is None:
            return True
        ideal = self.point(name, 1.0, TOP)
        there = self.rungs.points[TOP].values()
        return any(point == ideal or dominates(point, ideal) for point in there)

    def _parents(self) -> list[Steps]:
        """The front of those tried in full, and the best of those that may yet join it."""
        found: list[Steps] = []
        for points in (self.rungs.points[TOP], self.rungs.points[TOP - 1]):
            names = list(points)
            figures = [points[name] for name in names]
            front = ranks(figures).count(0)
            most = PARENTS if points is self.rungs.points[TOP] else PARENTS // KEPT
            order = best_first(figures)[: min(most, front)]
            found += [self.steps[names[place]] for place in order]
        return found

    def _entry(self, steps: Steps) -> int:
        """The highest rung whose training is done already: nothing is then saved on a lower one."""
        done = self.trained[TOP]
        for rung in range(TOP, 0, -1):
            done = done | self.trained[rung]
            if training(self._shortened(steps, SHARES[rung])) in done:
                return rung
        return 0

    def _shortened(self, steps: Steps, share: float) -> Steps:
        """The steps with a share of their epochs; those that were trained in full stay so."""
        whole = next(
            end for end in range(len(steps), -1, -1) if training(steps[:end]) in self.trained[TOP]
        )
        return (*steps[:whole], *scaled(steps[whole:], share))

    def _try(self, name: str, rung: int) -> None:
        steps = self._shortened(self.steps[name], SHARES[rung])
        best = self._measure(name, SHARES[rung])
        if best:
            self.trained[rung] |= {training(steps[:end]) for end in range(len(steps) + 1)}
        if best and rung == TOP:
            self.best[name] = best
        self.rungs.settle(name, rung, self.point(name, best.accuracy, rung) if best else None)

    def _measure(self, name: str, share: float) -> Measured | None:
        """The cheapest format after that share of the epochs; None if it cannot be made."""
        paid = self.trials.paid
        self._show()
        try:
            trial = self.trials.run(self._shortened(self.steps[name], share))
        except OutOfTime:
            raise
        except Exception as error:  # a pass or a library may raise anything: the search goes on
            self.cache.refuse_if_full(error)
            self.watch.say("a trial failed")  # raises if it is the end of time that it died of
            trial = Trial(failed=reason_of(error))
            self.trials.paid += 1
        self.ended += 1
        if self.trials.paid > paid:
            self.cache.trim()
        if not trial.failed:
            best = min(trial.measured, key=self._usd)
            shape = shape_of(self.steps[name])
            self.costs[shape] = _cheaper(best, self.costs.get(shape, best))
            return best
        self.failed += 1
        if end := dead_end(self.steps[name], share, trial.failed):
            self.ends.add(end)
        if self.trials.paid > paid and trial.failed not in self.said:
            self.said.add(trial.failed)
            self.watch.remark(f"tried in vain, {spell(self.steps[name])}: {trial.failed}")
        return None

    def _usd(self, measured: Measured) -> float:
        return self.usd_per_device_s(measured.target) * measured.item_s

    def point(self, name: str, accuracy: float, rung: int) -> Point:
        """(inaccuracy, log latency, log cost); one that is too inaccurate loses to all others.

        Who has had a share of the training only may be wrong as many times as often. Costs are
        those of its shape: a busy machine makes times longer, never shorter.
        """
        floor = 1 - (1 - self.floor) / SHARES[rung]
        if accuracy < floor:
            return (UNUSABLE + floor - accuracy,) * 3
        costs = self.costs[shape_of(self.steps[name])]
        return 1 - accuracy, log(costs.lone_s), log(self._usd(costs))

    def _show(self) -> None:
        points = list(self.rungs.points[TOP].values())
        front = ranks(points).count(0)
        self.watch.state = f"{self.ended} trials, {len(points)} in full, {front} on the front"
        self.watch.show("found again")  # until something new says what it does


def _cheaper(a: Measured, b: Measured) -> Measured:
    lone_s, item_s = min(a.lone_s, b.lone_s), min(a.item_s, b.item_s)
    return msgspec.structs.replace(a, lone_s=lone_s, item_s=item_s)
