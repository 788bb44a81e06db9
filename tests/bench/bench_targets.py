"""What was promised of each target, beside what was reached, in one run.

A recipe is compiled for every target into a folder of its own, which is timed, and its artifacts
are opened as a server opens them. Circuits are placed for several seeds, one after the other; what
is there from a run before is not made again, so an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compilers import forms
from compilers.cache import Cache
from compilers.commands.compile import RECIPE, find_recipe
from compilers.datasets import Data
from compilers.materials import Materials, gather
from compilers.plan import Plan, read_plan
from compilers.profiling import calls
from compilers.steps import network, produce, to_artifact
from model_repo import runtime
from model_repo.records import Variant, VariantKey
from model_repo.store import Store
from model_repo.table import render
from model_repo.tensors import Array

TARGETS, TPU = ("cpu", "gpu", "tpu", "fpga"), ("cpu", "tpu")
HEAD = ["what", "promised", "reached", ""]
COMPILED_S, PLACED_S, AGAIN_S = 600.0, 900.0, 5.0
BOUNDS = ((0.03, 130.0), (0.02, 200.0))
"""Points of accuracy that a circuit may lose on the reference, and the nanoseconds it may take."""


@dataclass(frozen=True)
class Line:
    """One promise and what became of it."""

    what: str
    promised: str
    reached: str
    is_met: bool

    def cells(self) -> list[str]:
        return [self.what, self.promised, self.reached, "met" if self.is_met else "MISSED"]


@dataclass(frozen=True)
class Compiled:
    """A recipe on its shelf, with what it was made from."""

    plan: Plan
    store: Store
    materials: Materials

    @property
    def rows(self) -> Data:
        return self.materials.splits.held_out

    def variant(self, name: str) -> Variant:
        recipe = self.plan.recipe
        return self.store.variant(VariantKey(recipe.model, recipe.version, name))

    def answers(self, name: str) -> Array:
        """What a variant's artifact answers for the held-out rows, through its runtime."""
        variant, model = self.variant(name), self.materials.model
        path = self.store.artifact(variant)
        session = runtime.load(variant.artifact.format).open_session(path, model)
        try:
            return calls.compute(session, model, self.rows)[model.scored_output]
        finally:
            session.close()

    def in_torch(self) -> Array:
        """What the trained network itself answers for the held-out rows, in torch on the CPU."""
        import torch

        step, cache = to_artifact(self.plan, self.plan.variants[0]), Cache(self.store.root)
        module = network(step, cache, self.materials)
        inputs = [torch.from_numpy(array) for array in self.rows.inputs.values()]
        with torch.no_grad():
            parts = [module(*chunk) for chunk in zip(*(x.split(64) for x in inputs), strict=True)]
        return np.concatenate([part.numpy() for part in parts])

    def in_numbers(self, name: str) -> Array:
        """What the fixed-point network that a circuit was made of answers for the same rows."""
        planned = next(v for v in self.plan.variants if v.key.variant == name)
        step = to_artifact(self.plan, planned)
        while step.parent and step.parent.form == "fixed":  # its target takes and leaves that form
            step = step.parent
        cache = Cache(self.store.root)
        made = forms.load(produce(step, cache, self.materials), self.materials.source, 0)
        answers: Array = made.run(dict(self.rows.inputs))
        return answers


def compiled(recipe: Path, repository: Path, targets: tuple[str, ...] = TARGETS) -> Compiled:
    """What `farebox compile` left there; compiles what is missing, and shows its progress."""
    call_compile(recipe, repository, targets)
    plan = read_plan(recipe, targets)
    return Compiled(plan, Store(repository), gather(plan, lambda _: None))


def call_compile(recipe: Path, repository: Path, targets: tuple[str, ...] = TARGETS) -> float:
    """Run the command as a user does; returns its seconds."""
    command = ["farebox", "compile", str(recipe), "--targets", ",".join(targets)]
    command = [str(Path(sys.executable).parent / command[0]), *command[1:]]
    start = time.monotonic()
    done = subprocess.run(
        [*command, "--repository", str(repository)], stdout=subprocess.DEVNULL, check=False
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"farebox compile ended with {done.returncode}")
    return time.monotonic() - start


def with_lines(recipe: Path, folder: Path, change: Mapping[str, str]) -> Path:
    """A copy of a recipe with some of its words changed, its source beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in recipe.parent.glob("*.py"):
        (folder / file.name).write_bytes(file.read_bytes())
    text = recipe.read_text(encoding="utf-8")
    for old, new in change.items():
        assert old in text, f"{recipe} has no {old!r}"
        text = text.replace(old, new)
    (folder / RECIPE).write_text(text, encoding="utf-8")
    return folder / RECIPE


def alone(recipe: Path, folder: Path) -> Path:
    """The recipe with nothing but its reference."""
    text = recipe.read_text(encoding="utf-8")
    _, _, others = text.partition("  fp32: []  # the reference\n")
    return with_lines(recipe, folder, {others: ""})


def times(recipe: Path, folder: Path) -> Iterator[Line]:
    """A first compile for all targets without placing, then the placing, then nothing to do."""
    quick = with_lines(recipe, folder / "quick", {"place: true": "place: false"})
    first_s = call_compile(quick, folder / "quick" / "shelf")
    yield _timed("compile digits for 4 targets, nothing placed", first_s, COMPILED_S)
    placed_s = call_compile(recipe, folder / "shelf")
    yield _timed("the same, circuits placed and routed", placed_s, COMPILED_S + PLACED_S)
    yield _timed("a second compile", call_compile(recipe, folder / "shelf"), AGAIN_S)


def _timed(what: str, took_s: float, most_s: float) -> Line:
    return Line(what, f"<= {most_s:g} s", f"{took_s:.1f} s", took_s <= most_s)


def tpu(digits: Compiled, minilm: Compiled) -> Iterator[Line]:
    wanted, given = digits.in_torch(), digits.answers("tpu-fp32")
    gap = float(np.abs(given - wanted).max() / np.abs(wanted).max())
    what = "tpu-fp32 of digits against torch, of the largest logit"
    yield Line(what, "<= 1e-5", f"{gap:.1e}", gap <= 1e-5)
    alike = float((digits.answers("tpu-bf16").argmax(1) == wanted.argmax(1)).mean())
    yield Line("tpu-bf16 of digits, same class as torch", ">= 0.99", f"{alike:.4f}", alike >= 0.99)
    given, wanted = minilm.answers("tpu-fp32"), minilm.in_torch()
    lengths = np.linalg.norm(given, axis=1) * np.linalg.norm(wanted, axis=1)
    cosine = float(((given * wanted).sum(1) / lengths).min())
    yield Line(
        "tpu-fp32 of minilm, least cosine to torch", ">= 0.9999", f"{cosine:.6f}", cosine >= 0.9999
    )


def exact(digits: Compiled) -> Iterator[Line]:
    """Circuits against the numbers they were made of, bit for bit."""
    for planned in digits.plan.variants:
        if planned.target.TARGET == "fpga":
            name = planned.key.variant
            given, wanted = digits.answers(name), digits.in_numbers(name)
            wrong = int(np.count_nonzero(given != wanted))
            what = f"{name}, RTL against the quantised network"
            yield Line(what, "0 differ", f"{wrong} of {wanted.size} logits differ", not wrong)


def circuits(recipe: Path, folder: Path, seeds: list[int]) -> Iterator[Line]:
    """Accuracy and latency of what is placed, for networks trained from several seeds."""
    for seed in seeds:
        seeded, shelf = recipe, folder / "shelf"
        if seed:  # that of the recipe is 0
            change = {"model: digits\n": f"model: digits\nseed: {seed}\n"}
            seeded = with_lines(recipe, folder / f"seed{seed}", change)
            shelf = folder / f"seed{seed}" / "shelf"
        made = compiled(seeded, shelf, ("cpu", "fpga"))
        best = made.variant("cpu-fp32").profile.accuracy
        for variant in made.store.variants(made.plan.recipe.model, made.plan.recipe.version):
            if variant.target == "fpga" and str(variant.notes["fpga.part"]).startswith("ecp5"):
                yield _placed(variant, seed, best)


def _placed(variant: Variant, seed: int, best: float) -> Line:
    lost, ns = best - variant.profile.accuracy, float(variant.notes["fpga.latency_ns"])
    is_met = any(lost <= points + 1e-9 and ns <= most for points, most in BOUNDS)
    reached = f"{lost * 100:.2f} points less than {best:.4f}, {ns:.0f} ns at "
    reached += f"{variant.notes['fpga.mhz']:.1f} MHz"
    promised = "<= 3 points at 130 ns, or <= 2 at 200 ns"
    return Line(f"{variant.key.variant}, seed {seed}", promised, reached, is_met)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where all of it is compiled")
    parser.add_argument("--seeds", default="0,1,2", help="of circuits, with commas between")
    args = parser.parse_args()
    folder: Path = args.folder.resolve()
    recipe = find_recipe("digits")
    lines = list(times(recipe, folder))
    digits = compiled(recipe, folder / "shelf")
    minilm = compiled(alone(find_recipe("minilm"), folder / "minilm"), folder / "shelf", TPU)
    lines += [*tpu(digits, minilm), *exact(digits)]
    lines += circuits(recipe, folder, [int(seed) for seed in args.seeds.split(",")])
    print(render(HEAD, [line.cells() for line in lines]))


if __name__ == "__main__":
    main()
