"""What steps draw on once something must be computed: the source, run, and its data, cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from compilers.contracts import Recall, Work
from compilers.datasets import Data, Splits, split
from compilers.plan import Plan
from compilers.profiling.scoring import check_classes, check_fidelity
from compilers.recipe import Recipe
from compilers.source import Source, load_source
from model_repo.errors import BadInput
from model_repo.records import Model, TensorSpec
from model_repo.tensors import Array, datatype_of

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Materials:
    """The source and data of one compile; `say` tells the user what is going on.

    recall, reference: see `Work`; nothing is kept before a compile sets recall to that of its
    cache, and `steps.produce` sets the reference.
    """

    source: Source
    splits: Splits
    model: Model
    largest_batch: int
    seed: int
    say: Callable[[str], None]
    recall: Recall = lambda _, compute: compute()
    reference: Callable[[], torch.nn.Module] | None = None

    def work(self, notes: dict[str, float | str]) -> Work:
        """What one pass may see of it: all but the held-out data."""
        parts = self.splits
        return Work(
            self.source,
            parts.train,
            parts.validation,
            parts.calibration,
            self.seed,
            self.say,
            notes,
            self.recall,
            self.model.metric,
            self.reference,
        )


def gather(plan: Plan, say: Callable[[str], None]) -> Materials:
    """Run the source module and cut its data; raises BadInput if the recipe asks for what it lacks.

    Everything that can be refused is refused here, before anything is trained.
    """
    recipe = plan.recipe
    say("loading the source")
    source = load_source(plan.source_path)
    source.check_model(recipe.source.model, "source, model")
    for variant in plan.variants:
        for chosen in variant.passes:
            try:
                # A pass that depends on nothing in the source defines no check.
                getattr(chosen.module, "check", _accept)(chosen.options, source)
            except BadInput as error:
                raise BadInput(f"variant {variant.name!r}: {error}") from error
    data = source.read()
    if recipe.metric == "accuracy" and data.labels is None:
        raise BadInput(
            f"metric is 'accuracy', but data() of {plan.source_path} gives no labels: "
            "give labels, or choose the metric 'agreement' or 'cosine'"
        )
    splits = split(data, msgspec.structs.asdict(recipe.splits), recipe.seed)
    model = describe(recipe, source, splits.calibration)
    _check_labels(plan, data, model)
    return Materials(source, splits, model, recipe.batch_sizes[-1], recipe.seed, say)


def _accept(options: Any, source: Source) -> None:
    """Nothing to check."""


def _check_labels(plan: Plan, data: Data, model: Model) -> None:
    (output,) = model.outputs
    if data.labels is None or len(output.shape) != 2:
        return
    where = f"data() of {plan.source_path}"
    if np.shape(data.labels) != (len(data),):
        raise BadInput(
            f"{where} gives labels of the shape {list(np.shape(data.labels))} for {len(data)} "
            f"rows: give one class number for each, [{len(data)}]"
        )
    network = f"the network {plan.recipe.source.model!r}"
    try:
        check_classes(np.asarray(data.labels), output.shape[1], network)
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from error


def describe(recipe: Recipe, source: Source, data: Data) -> Model:
    """The signature, from the arrays and one run of the untrained network.

    Raises BadInput if it does not take the data, or the metric cannot be told of its answers.
    """
    import torch

    module = source.build(recipe.source.model, recipe.seed).eval()
    where = f"the network {recipe.source.model!r} of {source.path}"
    example = {name: array[:2] for name, array in data.inputs.items()}
    try:
        with torch.no_grad():
            answer = module(*map(torch.from_numpy, example.values()))
    except (Exception, SystemExit) as error:  # the network is the user's: it may raise anything
        raise BadInput(f"{where} does not take the data: {' '.join(str(error).split())}") from error
    if not isinstance(answer, torch.Tensor) or len(answer) != len(data.take(slice(2))):
        raise BadInput(f"{where} must answer one tensor with one row for each row it is given")
    model = Model(
        recipe.model,
        recipe.version,
        tuple(_spec(name, array) for name, array in example.items()),
        (_spec(source.output, answer.numpy()),),
        batches=True,
        metric=recipe.metric,
        scored_output=source.output,
        labels=source.labels,
    )
    check_fidelity(model, answer.numpy())
    return model


def _spec(name: str, array: Array) -> TensorSpec:
    return TensorSpec(name, datatype_of(array), (-1, *array.shape[1:]))
