"""What compiling brings on this CPU: each variant against ONNX Runtime fp32, in one run.

One thread, batch 8, on held-out rows: the variants of a model take turns, and what is compared is
the median of their device time. `make bench-compilers` compiles the recipes first.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from compilers.cascades.cascading import ALL
from compilers.commands.compile import find_recipe
from compilers.materials import gather
from compilers.plan import read_plan
from compilers.profiling import calls
from model_repo import runtime
from model_repo.cascades import is_cascade
from model_repo.findings import read_skips
from model_repo.records import Model, Variant
from model_repo.runtime import Session
from model_repo.store import Store
from model_repo.table import render
from model_repo.tensors import Array

BATCH = 8
ROUNDS = 15
TURN_NS = 40_000_000
Run = Callable[[dict[str, Array]], int]
FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")


@dataclass(frozen=True)
class Goal:
    """A variant at least `times` cheaper whose accuracy or fidelity is at least `least`."""

    times: float
    least: Callable[[float], float]
    words: str


GOALS = {
    "resnet18": Goal(3.5, lambda _: 0.99, "an agreement of at least 0.99"),
    "minilm": Goal(3.0, lambda _: 0.99, "a cosine of at least 0.99"),
    "topics": Goal(3.0, lambda best: best - 0.005, "an accuracy within 0.5 point"),
    "digits": Goal(10.0, lambda best: best - 0.01, "an accuracy within 1 point"),
}


@dataclass(frozen=True)
class Timed:
    """One variant and what it took, in device-seconds an item."""

    variant: Variant
    device_s: float

    @property
    def accuracy(self) -> float:
        return self.variant.profile.accuracy


@contextmanager
def opened(store: Store, model: Model, variants: Sequence[Variant]) -> Iterator[list[Session]]:
    sessions = [
        runtime.load(v.artifact.format).open_session(store.artifact(v), model) for v in variants
    ]
    try:
        yield sessions
    finally:
        for session in sessions:
            session.close()


def take_turns(runs: Sequence[Run], batches: Sequence[dict[str, Array]]) -> list[float]:
    """Median device-seconds of a batch for each; a slow spell of the machine meets all."""
    seen: list[list[int]] = [[] for _ in runs]
    for turn in range(ROUNDS + 1):
        for run, times in zip(runs, seen, strict=True):
            spent = 0
            run(batches[turn % len(batches)])  # not counted: other data was in the caches
            while spent < TURN_NS:
                device_ns = run(batches[len(times) % len(batches)])
                spent += device_ns
                if turn:  # the first round warms up
                    times.append(device_ns)
    return [median(times) / 1e9 for times in seen]


def as_served(session: Session, variant: Variant) -> Run:
    """A batch in pieces no larger than the variant is served; -> device-nanoseconds of all."""
    most = variant.profile.largest_batch

    def run(batch: dict[str, Array]) -> int:
        pieces = (
            {name: array[start : start + most] for name, array in batch.items()}
            for start in range(0, BATCH, most)
        )
        return sum(session.run(piece)[1] for piece in pieces)

    return run


def timed(store: Store, recipe: Path) -> tuple[Model, list[Timed]]:
    plan = read_plan(recipe)
    name, version = plan.recipe.model, plan.recipe.version
    model = store.model(name, version)
    data = gather(plan, lambda text: print(f"{name}: {text}", file=sys.stderr)).splits.held_out
    rng = np.random.default_rng(0)
    batches = [calls.feed(model, data, rng.integers(len(data), size=BATCH)) for _ in range(16)]
    variants = [v for v in store.variants(name, version) if not is_cascade(v)]
    with opened(store, model, variants) as sessions:
        runs = [as_served(*pair) for pair in zip(sessions, variants, strict=True)]
        taken = take_turns(runs, batches)
    found = [Timed(v, t / BATCH) for v, t in zip(variants, taken, strict=True)]
    found += [Timed(v, _expected(v)) for v in store.variants(name, version) if is_cascade(v)]
    return model, found


def _expected(cascade: Variant) -> float:
    """A cascade has no session of its own: what its profile, of measured stages, expects."""
    points = cascade.profile.latency
    point = next((p for p in points if p.batch_size == BATCH), points[-1])
    return point.device_s / point.batch_size


def rows(found: Sequence[Timed], reference: Timed) -> list[list[object]]:
    return [
        [
            each.variant.key.variant + (" (expected)" if is_cascade(each.variant) else ""),
            f"{each.accuracy:.4f}",
            f"{each.variant.profile.accuracy_low:.4f} to {each.variant.profile.accuracy_high:.4f}",
            f"{each.device_s * 1e6:,.2f}",
            f"{reference.device_s / each.device_s:.2f}",
            f"{each.variant.artifact.size_bytes / 1e6:.2f}",
        ]
        for each in sorted(found, key=lambda each: -each.device_s)
    ]


def verdict(found: Sequence[Timed], reference: Timed, goal: Goal) -> str:
    good = [each for each in found if each.accuracy >= goal.least(reference.accuracy)]
    best = min(good, key=lambda each: each.device_s)
    times = reference.device_s / best.device_s
    word = "met" if times >= goal.times else "MISSED"
    return (
        f"x{times:.2f} at {goal.words}: {best.variant.key.variant}, {best.accuracy:.4f} "
        f"(target x{goal.times:g}: {word})"
    )


def cascade_verdict(found: Sequence[Timed]) -> str:
    """Whether some cascade is cheaper than every single variant of its accuracy."""
    single = [each for each in found if not is_cascade(each.variant)]
    paying = []
    for each in (each for each in found if is_cascade(each.variant)):
        rivals = [one.device_s for one in single if one.accuracy >= each.accuracy]
        if not rivals or each.device_s < min(rivals):
            least = f"{min(rivals) / each.device_s:.2f} times cheaper" if rivals else "no rival"
            paying.append(f"{each.variant.key.variant} ({each.accuracy:.4f}, {least})")
    if not paying:
        return "no cascade is cheaper than every single variant of its accuracy"
    return f"cheaper than any single variant of its accuracy: {', '.join(paying)}"


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    facts = {key.strip(): value.strip() for key, _, value in (li.partition(":") for li in lines)}
    there = [flag for flag in FLAGS if flag in facts.get("flags", "").split()]
    return f"{facts.get('model name', 'unknown CPU')} with {' '.join(there)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("recipes", nargs="+", help="names or paths, compiled already")
    args = parser.parse_args()
    print(
        f"{processor()}; one thread, batch {BATCH}, median device time of {ROUNDS} rounds in turn"
    )
    store = Store(args.repository)
    for recipe in args.recipes:
        model, found = timed(store, find_recipe(recipe))
        reference = next(each for each in found if each.variant.kind == "reference")
        print(f"\n{model.name}/{model.version}")
        head = ["variant", model.metric, "95 %", "device us/item", "times cheaper", "MB"]
        print(render(head, rows(found, reference)))
        if model.name in GOALS:
            print(verdict(found, reference, GOALS[model.name]))
        if any(is_cascade(each.variant) for each in found):
            print(cascade_verdict(found))
        if skip := read_skips(store, model.name, model.version).get(ALL):
            print(f"{ALL}: {skip.reason}")


if __name__ == "__main__":
    main()
