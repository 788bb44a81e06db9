"""The one training loop: seeded, deterministic, and keeping the best epoch on validation data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compilers.contracts import Work
from compilers.datasets import Data
from compilers.schedule import Schedule
from model_repo.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor, nn

THREADS = 1  # the same weights on any number of cores, and no spinning where cores are shared
VIEWS = 8
ROWS = 256
WARM_UP = 0.2  # share of the steps in which the learning rate rises
Inputs = tuple[Any, ...]


@dataclass(frozen=True)
class Teaching:
    """Whom to learn from, and how: see `distillation_loss`."""

    teacher: nn.Module
    temperature: float
    soft_weight: float


def train(
    module: nn.Module, schedule: Schedule, work: Work, label: str, teaching: Teaching | None = None
) -> float:
    """Fit `module` in place to the training rows; returns the kept epoch's validation accuracy.

    Kept are the weights of the best epoch: highest validation accuracy, then lowest loss.
    Raises BadInput if the data has no labels.
    """
    import torch

    generator = torch.Generator().manual_seed(work.seed)
    best, kept = (-1.0, 0.0), copy.deepcopy(module.state_dict())
    with repeatable(work.seed):
        views = _views(work, generator, teaching)
        step = _stepper(module, schedule, len(work.train), teaching)
        for epoch in range(schedule.epochs):
            module.train()
            view = next(views)
            for rows in _batches(len(work.train), schedule.batch_size, generator):
                step(view.take(rows))
            reached = evaluate(module, work.validation)
            work.say(f"{label}, epoch {epoch + 1} of {schedule.epochs}: {reached[0]:.3f}")
            if reached > best:
                best, kept = reached, copy.deepcopy(module.state_dict())
        module.load_state_dict(kept)
        return evaluate(module, work.validation)[0]


@dataclass(frozen=True)
class View:
    """Training rows, augmented once: inputs, labels, and the teacher's logits if there is one."""

    inputs: Inputs
    labels: Tensor
    wanted: Tensor | None

    def take(self, rows: Tensor) -> View:
        """The rows named."""
        wanted = None if self.wanted is None else self.wanted[rows]
        return View(tuple(tensor[rows] for tensor in self.inputs), self.labels[rows], wanted)


def _views(work: Work, generator: Any, teaching: Teaching | None) -> Iterator[View]:
    """One view an epoch, the first few again and again: a teacher is slow to ask."""
    inputs, labels = tensors(work.train)
    augment = work.source.augment
    made = []
    for _ in range(VIEWS):
        seen = augment(inputs, generator) if augment else inputs
        made.append(View(seen, labels, _answers(teaching.teacher, seen) if teaching else None))
        yield made[-1]
    while True:
        yield from made


def _answers(module: nn.Module, inputs: Inputs) -> Tensor:
    import torch

    with torch.no_grad():
        parts = zip(*(torch.split(tensor, ROWS) for tensor in inputs), strict=True)
        return torch.cat([module.eval()(*part) for part in parts])


def _stepper(
    module: nn.Module, schedule: Schedule, rows: int, teaching: Teaching | None
) -> Callable[[View], None]:
    """A function that takes one optimiser step on a batch."""
    import torch
    from torch.nn import functional

    rate = schedule.learning_rate
    optimizer = torch.optim.AdamW(module.parameters(), lr=rate, weight_decay=schedule.weight_decay)
    steps = max(1, rows // schedule.batch_size) * schedule.epochs
    curve = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=max(1, steps), pct_start=WARM_UP
    )

    def step(batch: View) -> None:
        logits = module(*batch.inputs)
        if teaching is None or batch.wanted is None:
            loss = functional.cross_entropy(logits, batch.labels)
        else:
            loss = distillation_loss(logits, batch.wanted, batch.labels, teaching)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        curve.step()

    return step


def distillation_loss(logits: Tensor, wanted: Tensor, labels: Tensor, teaching: Teaching) -> Tensor:
    """w T^2 KL(teacher at T || student at T) + (1 - w) cross entropy with the labels.

    Hinton, Vinyals and Dean 2015 (arXiv:1503.02531), section 2: T^2 keeps the two gradients in
    proportion when the temperature T changes. w is `soft_weight`.
    """
    from torch.nn import functional

    temperature, weight = teaching.temperature, teaching.soft_weight
    soft = functional.kl_div(
        functional.log_softmax(logits / temperature, 1),
        functional.log_softmax(wanted / temperature, 1),
        log_target=True,
        reduction="batchmean",
    )
    return weight * temperature**2 * soft + (1 - weight) * functional.cross_entropy(logits, labels)


def evaluate(module: nn.Module, data: Data) -> tuple[float, float]:
    """Accuracy on `data`, and minus the loss; `module` is left in eval mode."""
    from torch.nn import functional

    inputs, labels = tensors(data)
    logits = _answers(module, inputs)
    right = (logits.argmax(1) == labels).float().mean()
    return float(right), -float(functional.cross_entropy(logits, labels))


def tensors(data: Data) -> tuple[Inputs, Tensor]:
    """The inputs in their order, and the labels; raises BadInput if there are none."""
    import numpy as np
    import torch

    if data.labels is None:
        raise BadInput(
            "the source's data has no labels, which training and pruning need: give labels, or "
            "set epochs to 0 under source, training and leave such passes out"
        )
    labels = torch.from_numpy(np.ascontiguousarray(data.labels, dtype=np.int64))
    return tuple(torch.from_numpy(array) for array in data.inputs.values()), labels


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
