"""Train a chain of layers as a circuit computes it: few bits, every scale a power of two."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import ceil, log2
from typing import TYPE_CHECKING, Annotated

import numpy as np
from msgspec import Meta

from compilers.contracts import Form, Work
from compilers.datasets import Data
from compilers.forms import TorchModel
from compilers.fpga import chain, learned
from compilers.fpga.fixed import FixedModel
from compilers.source import Source
from compilers.training import sparse
from compilers.training.lessons import Lesson, Teaching
from compilers.training.loop import repeatable, train
from model_repo.errors import BadInput, MissingExtra, Unsupported
from model_repo.rtl import Fraction
from model_repo.tensors import Array

if TYPE_CHECKING:
    from torch import nn

TAKES: Form = "torch"
GIVES: Form = "fixed"
LIBRARIES = ("brevitas", "numpy", "safetensors", "torch")
EXAMPLES = 64
Width = Annotated[int, Meta(ge=2, le=8)]


class Options(Lesson, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bits of the input, the weights, the biases and what a ReLU gives, and how to learn.

    Weights that are zero stay zero, so that those which `prune` took cost nothing in a circuit.
    """

    input_bits: Annotated[int, Meta(ge=1, le=16)] = 4
    weight_bits: Width = 4
    bias_bits: Width = 6
    activation_bits: Annotated[int, Meta(ge=1, le=8)] = 4


def check(options: Options, source: Source) -> None:
    """Raise BadInput for hints: a rebuilt chain has no layers of their names."""
    if options.hints:
        raise BadInput("quantize_aware takes no hints: give them to a distill before it")


def apply(model: TorchModel, options: Options, work: Work) -> FixedModel:
    """The network as exact fixed-point maths, taught by the reference.

    Raises Unsupported naming the first layer without a fixed-point form, and MissingExtra.
    """
    with _brevitas(), repeatable(work.seed):
        begun = _begin(model, options, work)
        module = begun.module
        teaching = Teaching(work.reference().eval(), options) if work.reference else None
        masks = _zeros(module)
        with ExitStack() as stack:
            if masks:
                stack.enter_context(sparse.held_at_zero(module, masks))
            score = train(module, options, work, f"{model.network} in few bits", teaching)
        made = _exported(begun, work)
        _check_same(module, made, work)
    work.notes[f"quantize_aware.validation_{work.metric}"] = score
    work.notes["quantize_aware.weights_not_zero"] = float(
        sum(np.count_nonzero(layer.weights) for layer in made.layers if hasattr(layer, "weights"))
    )
    return made


def untrained(model: TorchModel, options: Options, work: Work) -> FixedModel:
    """The network in few bits with the weights it has: what training begins with.

    Raises Unsupported naming the first layer without a fixed-point form, and MissingExtra.
    """
    with _brevitas(), repeatable(work.seed):
        return _exported(_begin(model, options, work), work)


@dataclass(frozen=True)
class _Begun:
    """A network rebuilt for training."""

    module: nn.Module
    links: Sequence[chain.Link]
    bits: learned.Bits
    shape: Fraction


def _begin(model: TorchModel, options: Options, work: Work) -> _Begun:
    import torch

    _, rows = _only_input(work.train)
    links = chain.read(model.module.eval(), rows.shape[1:])
    shape = input_format(rows, options.input_bits)
    bits = learned.Bits(options.weight_bits, options.bias_bits, options.activation_bits)
    module = learned.rebuild(links, shape, bits)
    learned.settle(module, torch.from_numpy(_only_input(work.calibration)[1]))
    return _Begun(module, links, bits, shape)


@contextmanager
def _brevitas() -> Iterator[None]:
    with warnings.catch_warnings():
        # It speaks of named tensors and of its own internals, which are nobody's to mend here.
        warnings.simplefilter("ignore")
        try:
            import brevitas.nn  # noqa: F401
        except ModuleNotFoundError as error:
            raise MissingExtra("the pass quantize_aware", error.name or "", "fpga") from error
        yield


def _only_input(data: Data) -> tuple[str, Array]:
    if len(data.inputs) != 1:
        raise Unsupported(
            f"a circuit takes one input, and this model has {len(data.inputs)}: "
            f"{', '.join(data.inputs)}"
        )
    ((name, rows),) = data.inputs.items()
    if not np.issubdtype(rows.dtype, np.floating):
        raise Unsupported(f"the input {name!r} is {rows.dtype}, and a circuit takes real numbers")
    return name, np.ascontiguousarray(rows, np.float32)


def input_format(rows: Array, bits: int) -> Fraction:
    """The format of `bits` bits that just holds the training rows; the largest may saturate."""
    low, high = float(rows.min()), float(rows.max())
    signed = low < 0
    # Up to a whole step of saturation is less harm than a bit lost on all other values.
    reach = max(-low, high * (1 - 2.0 ** -(bits - signed)) if bits > signed else high)
    whole = ceil(log2(reach)) if reach > 0 else 0
    return Fraction(bits, bits - int(signed) - whole, signed)


def _zeros(module: nn.Module) -> sparse.Masks:
    """Of the weights that have zeros among them: 1 where a weight is not zero."""
    return {
        name: (weight != 0).to(weight.dtype)
        for name, weight in module.named_parameters()
        if name.endswith(".weight") and bool((weight == 0).any())
    }


def _exported(begun: _Begun, work: Work) -> FixedModel:
    name, rows = _only_input(work.calibration)
    examples = begun.shape.codes(rows[:EXAMPLES].reshape(min(EXAMPLES, len(rows)), -1))
    layers = learned.exported(begun.module, begun.links, begun.bits)
    return FixedModel(name, work.source.output, rows.shape[1:], begun.shape, layers, examples)


def _check_same(module: nn.Module, made: FixedModel, work: Work) -> None:
    """Every calibration and validation row must answer alike, to the last bit."""
    import torch

    for data in (work.calibration, work.validation):
        _, rows = _only_input(data)
        with torch.no_grad():
            wanted = module.eval()(torch.from_numpy(rows)).numpy()
        given = made.run({made.input_name: rows})
        assert np.array_equal(wanted, given), "the circuit's numbers are those that were trained"
