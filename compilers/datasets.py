"""Data for compiling: named arrays with one row per sample, in splits that cannot overlap."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model_repo.errors import BadInput
from model_repo.tensors import Array


@dataclass(frozen=True)
class Data:
    """Inputs by tensor name, `[n, ...]` each, and labels `[n]` if there are any."""

    inputs: Mapping[str, Array]
    labels: Array | None = None

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def take(self, rows: Array | slice) -> Data:
        """The rows named, in that order."""
        labels = None if self.labels is None else self.labels[rows]
        return Data({name: array[rows] for name, array in self.inputs.items()}, labels)


@dataclass(frozen=True)
class Splits:
    """train fits weights; validation chooses between models; calibration sets ranges and
    importances; conformal, which may be empty, sets the thresholds of cascades; held_out gives
    every published figure. No pass sees the last two."""

    train: Data
    validation: Data
    calibration: Data
    conformal: Data
    held_out: Data


def split(data: Data, sizes: Mapping[str, int], seed: int) -> Splits:
    """Cut `data` by a seeded permutation; train is what `sizes` leaves over.

    sizes: rows of validation, calibration, conformal (0 if absent) and held_out. Equal rows are
    kept on one side: a sample that stands twice in the data can never be both trained on and held
    out.
    Raises BadInput when the data has too few rows.
    """
    order = _shuffled_groups(data, seed)
    # In this order, so that a recipe which adds conformal rows holds out what it held out before.
    names = ("held_out", "calibration", "validation", "conformal")
    wanted = [sizes.get(name, 0) for name in names]
    if sum(wanted) >= len(data):
        raise BadInput(
            f"the splits ask for {sum(wanted)} of {len(data)} samples and leave none to train on: "
            "make them smaller"
        )
    parts, rest = [], list(order)
    for count in wanted:
        part: list[int] = []
        while len(part) < count and rest:
            part.extend(rest.pop())
        parts.append(data.take(np.array(sorted(part), dtype=np.intp)))
    if not rest:
        raise BadInput(
            f"the splits ask for {sum(wanted)} of {len(data)} samples, of which only {len(order)} "
            "differ, and leave none to train on: make them smaller"
        )
    train = np.array(sorted(row for group in rest for row in group), dtype=np.intp)
    return Splits(data.take(train), parts[2], parts[1], parts[3], parts[0])


def _shuffled_groups(data: Data, seed: int) -> Sequence[list[int]]:
    """Rows with equal inputs form one group; the groups in a seeded order."""
    groups: dict[bytes, list[int]] = {}
    arrays = [array for _, array in sorted(data.inputs.items())]
    for row in range(len(data)):
        digest = hashlib.sha256()
        for array in arrays:
            raw = array[row]
            is_object = array.dtype == object  # its bytes would be pointers
            digest.update(
                repr(np.asarray(raw, object).tolist()).encode() if is_object else raw.tobytes()
            )
        groups.setdefault(digest.digest(), []).append(row)
    listed = list(groups.values())
    return [listed[i] for i in np.random.default_rng(seed).permutation(len(listed))]
