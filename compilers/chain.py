"""The passes of one variant, in turn: known, with options that are checked, and forms that fit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from compilers.contracts import Form, Pass, leads_to
from model_repo import plugins
from model_repo.errors import BadInput, NotFound
from model_repo.fields import convert
from model_repo.records import PassStep

PASSES = "compilers.passes"
ADVICE: dict[Form, str] = {
    "torch": "add the pass quantize_aware, which gives the form fixed",
    "onnx": "put what takes a torch network first",
    "fixed": "whole numbers all through are for an FPGA alone, so put quantize_aware last",
}


@dataclass(frozen=True)
class ChosenPass:
    """A pass with its options, checked."""

    name: str
    module: Pass
    options: Any

    @property
    def record(self) -> PassStep:
        """What a manifest says of it: every option, given or not."""
        return PassStep(self.name, msgspec.to_builtins(self.options))


def choose(steps: Iterable[PassStep], variant: str) -> tuple[ChosenPass, ...]:
    """The passes by name, their options checked; raises BadInput naming the variant."""
    chosen: list[ChosenPass] = []
    for step in steps:
        made = _choose(step, variant)
        before = tuple(each.record for each in chosen)
        try:
            # A pass that makes sense after every other defines no check.
            getattr(made.module, "check_after", _accept)(made.options, before)
        except BadInput as error:
            raise BadInput(f"variant {variant!r}: {error}") from error
        chosen.append(made)
    return tuple(chosen)


def _accept(options: Any, before: tuple[PassStep, ...]) -> None:
    """Nothing to check."""


def _choose(step: PassStep, variant: str) -> ChosenPass:
    try:
        module = cast(Pass, plugins.load(PASSES, step.name))
    except NotFound as error:
        raise BadInput(f"variant {variant!r}: {error}") from error
    options = convert(step.options, module.Options, f"variant {variant!r}: pass {step.name!r}")
    return ChosenPass(step.name, module, options)


def form_after(passes: Iterable[ChosenPass], variant: str) -> Form:
    """What the passes give, in turn; raises BadInput for one that takes what is gone by then."""
    form: Form = "torch"
    giver = ""
    for chosen in passes:
        if not leads_to(form, chosen.module.TAKES):
            raise BadInput(
                f"variant {variant!r}: the pass {chosen.name!r} takes the form "
                f"{chosen.module.TAKES}, but the pass {giver!r} before it gives {form}: "
                f"{ADVICE[form]}"
            )
        form, giver = chosen.module.GIVES, chosen.name
    return form
