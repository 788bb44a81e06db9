"""Join requests into one batch of arrays and part the outputs again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from model_repo.tensors import Array

Feed = Mapping[str, Array]


def join(feeds: Sequence[Feed]) -> Feed:
    """Concatenate along axis 0; a lone request is passed on untouched."""
    if len(feeds) == 1:
        return feeds[0]
    return {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}


def part(outputs: Feed, rows: Sequence[int]) -> list[dict[str, Array]]:
    """Views of each request's rows, in order."""
    if len(rows) == 1:
        return [dict(outputs)]
    parts, at = [], 0
    for count in rows:
        parts.append({name: array[at : at + count] for name, array in outputs.items()})
        at += count
    return parts


def cut(feed: Feed, rows: int, largest: int) -> list[Feed]:
    """A feed of more than `largest` rows as several of at most that many."""
    if rows <= largest:
        return [feed]
    return [
        {name: array[at : at + largest] for name, array in feed.items()}
        for at in range(0, rows, largest)
    ]
