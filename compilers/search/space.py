"""The recipes there could be: chains of passes, and the values of their options."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import numpy as np

from compilers.chain import PASSES
from compilers.contracts import Pass, leads_to
from compilers.plan import Plan
from compilers.recipe import Recipe
from compilers.source import Source
from compilers.training.lessons import Lesson
from compilers.training.schedule import Schedule
from model_repo import plugins
from model_repo.records import PassStep

Steps = tuple[PassStep, ...]
ATTEMPTS = 200
"""Chains drawn in vain before there is taken to be nothing new."""
LENGTHS = (0.25, 0.55, 0.2)
"""How likely 0, 1 and 2 passes of one form are."""
SHARED = ("epochs", "learning_rate", "batch_size")
"""What every training has; the values are those of the recipe."""


@dataclass(frozen=True)
class Space:
    """Pass -> option -> values worth trying; torch and onnx name the passes of each form."""

    values: Mapping[str, Mapping[str, tuple[Any, ...]]]
    torch: tuple[str, ...]
    onnx: tuple[str, ...]


def survey(plan: Plan, source: Source) -> Space:
    """What passes say should be tried, and what the recipe itself tries.

    The recipe's author knows which learning rates and ratios suit the model, so these values may
    be combined with all others.
    """
    values, forms = {}, {}
    for name in plugins.names(PASSES):
        module = cast(Pass, plugins.load(PASSES, name))
        if not hasattr(module, "searched") or not leads_to(module.GIVES, "onnx"):
            continue  # what no CPU takes cannot be tried here
        tried = {option: tuple(given) for option, given in module.searched(source).items()}
        if not tried:
            continue  # with nothing to vary, it is left to recipes
        if issubclass(module.Options, Schedule):
            tried |= _schedules(plan.recipe)
        used = [
            chosen.record.options
            for variant in plan.on_cpu
            for chosen in variant.passes
            if chosen.name == name
        ]
        values[name] = {
            option: _distinct([*given, *(options[option] for options in used)])
            for option, given in tried.items()
        }
        forms[name] = module.TAKES
    return Space(
        values,
        tuple(name for name, form in forms.items() if form == "torch"),
        tuple(name for name, form in forms.items() if form == "onnx"),
    )


def _schedules(recipe: Recipe) -> dict[str, tuple[Any, ...]]:
    """As the source was trained, and for longer; weights that came as they are tell nothing."""
    given = recipe.source.training
    own = given if given.epochs else Schedule()
    return {
        "epochs": (own.epochs, 3 * own.epochs),
        "learning_rate": (own.learning_rate, 2 * own.learning_rate),
        "batch_size": (own.batch_size,),
    }


def _distinct(values: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(
        {msgspec.json.encode(value): msgspec.to_builtins(value) for value in values}.values()
    )


def proposals(space: Space, parents: Sequence[Steps], rng: np.random.Generator) -> Iterator[Steps]:
    """Chains to try, without end: a fifth made up, the others from what is good already."""
    while True:
        if not parents or rng.random() < 1 / 5:
            yield draw(space, rng)
        else:
            yield vary(space, parents, rng)


def draw(space: Space, rng: np.random.Generator) -> Steps:
    """A chain made up: torch passes, then those on ONNX."""
    chain: list[PassStep] = []
    for names, may_repeat in ((space.torch, False), (space.onnx, True)):
        count = int(rng.choice(len(LENGTHS), p=LENGTHS))
        count = count if may_repeat and names else min(count, len(names))
        # Training the same pass twice pays seldom; int8 and then bf16 may.
        chosen = rng.choice(names, count, replace=may_repeat) if count else ()
        chain += [_made_up(space, str(name), rng) for name in chosen]
    return tuple(chain)


def vary(space: Space, parents: Sequence[Steps], rng: np.random.Generator) -> Steps:
    """A parent's torch passes and another's passes on ONNX, or one parent with one change.

    What is done on ONNX costs little to try on a network that is there already.
    """
    one, other = (parents[int(rng.integers(len(parents)))] for _ in range(2))
    torch = [step for step in one if step.name in space.torch]
    if rng.random() < 1 / 5:
        return (*torch, *(step for step in other if step.name not in space.torch))
    chain = list(one)
    change = rng.random()
    if chain and change < 2 / 5:
        place = int(rng.integers(len(chain)))
        chain[place] = _nudged(space, chain[place], rng)
    elif chain and change < 1 / 2:
        del chain[int(rng.integers(len(chain)))]
    else:
        there = {step.name for step in torch}
        missing = tuple(name for name in space.torch if name not in there)
        is_torch = rng.random() < 1 / 2
        names = missing if is_torch else space.onnx
        if names:
            added = _made_up(space, names[int(rng.integers(len(names)))], rng)
            # Either end of its form's passes: what takes torch cannot come after ONNX.
            first, last = (0, len(torch)) if is_torch else (len(torch), len(chain))
            chain.insert(int(rng.choice([first, last])), added)
    return tuple(chain)


def _made_up(space: Space, name: str, rng: np.random.Generator) -> PassStep:
    """A pass whose options are, half of them, left at their defaults; never its schedule."""
    chosen = {
        option: values[int(rng.integers(len(values)))]
        for option, values in space.values[name].items()
        if option in SHARED or _is_required(name, option) or rng.random() < 1 / 2
    }
    return PassStep(name, chosen)


def _nudged(space: Space, step: PassStep, rng: np.random.Generator) -> PassStep:
    """The step with another value of one option, two times in three not of its training.

    How it is trained moves the accuracy a little, what it is made to be moves the costs by much.
    """
    values = space.values.get(step.name, {})
    shaping = [option for option in values if option not in Lesson.__struct_fields__]
    options = shaping if shaping and rng.random() < 2 / 3 else sorted(values)
    option = options[int(rng.integers(len(options)))] if options else ""
    others = [value for value in values.get(option, ()) if value != step.options.get(option)]
    if not others:
        return step
    chosen = others[int(rng.integers(len(others)))]
    return PassStep(step.name, {**step.options, option: chosen})


def _is_required(name: str, option: str) -> bool:
    options = plugins.load(PASSES, name).Options
    return any(f.name == option and f.required for f in msgspec.structs.fields(options))


def fresh(
    chains: Iterator[Steps], admit: Callable[[Steps], Steps | None], known: Callable[[Steps], bool]
) -> Steps | None:
    """The first chain that makes sense and is new, every option spelt out; None if none comes."""
    for _ in range(ATTEMPTS):
        admitted = admit(next(chains))
        if admitted and not known(admitted):
            return admitted
    return None
