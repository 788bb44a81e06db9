"""The one training loop: seeded, deterministic, and keeping the best epoch on validation data."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from compilers.contracts import Work
from compilers.training.lessons import Objective, Teaching, View, objective
from compilers.training.schedule import Schedule
from compilers.training.yardstick import answers, check_weights, tensors, yardstick
from model_repo.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor, nn

THREADS = 2  # whatever there are: how many share the sums decides the weights, their cores do not
VIEWS = 8
FEWEST_ROWS = 2  # batch norm has no variance of one row
WARM_UP = 0.2  # share of the steps in which the learning rate rises


def train(
    module: nn.Module, schedule: Schedule, work: Work, label: str, teaching: Teaching | None = None
) -> float:
    """Fit `module` in place to the training rows; returns what validation data says of it.

    Kept are the weights of the best epoch, those given among them: the highest metric, then the
    lowest loss.
    Raises BadInput if training needs labels and there are none, if there are too few rows, and
    for weights that are no numbers, given or come to.
    """
    check_weights(module, label)
    with repeatable(work.seed):
        measure = yardstick(work, work.validation).measure
        best, kept = measure(module), copy.deepcopy(module.state_dict())
        for epoch in _epochs(module, schedule, work, teaching):
            reached = measure(module)
            work.say(f"{label}, epoch {epoch} of {schedule.epochs}: {reached[0]:.3f}")
            if not all(map(math.isfinite, reached)):
                raise BadInput(
                    f"{label}: after epoch {epoch} the answers are no numbers any more: lower "
                    f"learning_rate, which is {schedule.learning_rate:g}"
                )
            if reached > best:
                best, kept = reached, copy.deepcopy(module.state_dict())
        module.load_state_dict(kept)
    module.eval()
    return best[0]


def _epochs(
    module: nn.Module, schedule: Schedule, work: Work, teaching: Teaching | None
) -> Iterator[int]:
    """The number of each epoch, from 1, when it is done."""
    import torch

    if not schedule.epochs:
        return
    if len(work.train) < FEWEST_ROWS:
        raise BadInput(
            f"the splits leave {len(work.train)} rows to train on, and it takes {FEWEST_ROWS}: "
            "make validation, calibration or held_out smaller"
        )
    generator = torch.Generator().manual_seed(work.seed)
    views = _views(work, generator, teaching)
    example = tensors(work.train.take(slice(FEWEST_ROWS)))[0]
    with objective(module, work, teaching, example) as task:
        step = _stepper(task, schedule, len(work.train))
        for epoch in range(1, schedule.epochs + 1):
            view = next(views)
            module.train()
            for rows in _batches(len(work.train), schedule.batch_size, generator):
                step(view.take(rows))
            yield epoch


def _views(work: Work, generator: Any, teaching: Teaching | None) -> Iterator[View]:
    """One view an epoch, the first few again and again: a teacher is slow to ask.

    With hints it must be asked in each step anyway, so its answers are not gathered before.
    """
    inputs, labels = tensors(work.train)
    augment = work.source.augment
    asked = teaching.teacher if teaching and not teaching.lesson.hints else None
    made = []
    for _ in range(VIEWS if augment else 1):
        seen = augment(inputs, generator) if augment else inputs
        made.append(View(seen, labels, answers(asked, seen) if asked else None))
        yield made[-1]
    while True:
        yield from made


def _stepper(task: Objective, schedule: Schedule, rows: int) -> Callable[[View], None]:
    """A function that takes one optimiser step on a batch."""
    import torch

    rate, fitted = schedule.learning_rate, task.parameters()
    # Fused: the same step, several times faster on networks with large embeddings.
    optimizer = torch.optim.AdamW(fitted, lr=rate, weight_decay=schedule.weight_decay, fused=True)
    steps = max(1, rows // schedule.batch_size) * schedule.epochs
    curve = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=steps, pct_start=WARM_UP
    )

    def step(batch: View) -> None:
        warmth = min(1.0, curve.last_epoch / (WARM_UP * steps))
        loss = task.loss(batch, warmth)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        curve.step()

    return step


def _batches(rows: int, size: int, generator: Any) -> Iterator[Tensor]:
    """Shuffled batches of equal size: batch norm would fail on a last one of a single row."""
    import torch

    order = torch.randperm(rows, generator=generator)
    size = min(size, rows)
    for start in range(0, rows - size + 1, size):
        yield order[start : start + size]


@contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """The same draws, threads and algorithms in every run: each of them changes the weights."""
    import torch

    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)
