"""MiniLM and a linear layer, and smaller networks, to tell what a text of SciPy is about."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator

import numpy as np
from torch import Tensor, nn

from compilers.datasets import Data
from compilers.recipes.minilm.source import SUBPACKAGES, WIDTH, Encoder, encode

OUTPUT = "scores"
LABELS = SUBPACKAGES
INNER = (
    *("cluster.hierarchy", "cluster.vq", "linalg.interpolative", "signal.windows"),
    *("sparse.csgraph", "sparse.linalg", "spatial.distance", "spatial.transform"),
    *("stats.contingency", "stats.mstats", "stats.qmc", "stats.sampling"),
)
SHORTEST = 80  # characters
SEEN = 600  # characters that matter: more than the encoder's 64 tokens


class Classifier(nn.Module):
    """The encoder's layers named, and a linear layer on its embedding, scaled to unit variance."""

    def __init__(self, layers: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = Encoder(layers)
        self.answer = nn.Linear(WIDTH, len(LABELS))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        scores: Tensor = self.answer(self.encoder(input_ids, attention_mask) * WIDTH**0.5)
        return scores


def documented() -> Iterator[tuple[str, str, str]]:
    """(subpackage, name, docstring) of public functions, classes and their public methods."""
    for path in (*SUBPACKAGES, *INNER):
        module = importlib.import_module(f"scipy.{path}")
        for name in sorted(module.__all__):
            found = getattr(module, name)
            if inspect.ismodule(found):
                continue
            inner = sorted(vars(found).items()) if inspect.isclass(found) else []
            public = [(n, o) for n, o in inner if not n.startswith("_") and callable(o)]
            for own, thing in [(name, found), *public]:
                yield path.partition(".")[0], own, inspect.getdoc(thing) or ""


def masked(text: str, *names: str) -> str:
    """The text on one line, its start only, without the names that would give it away."""
    given_away = re.compile(
        rf"\b(scipy(\.\w+)*|{'|'.join(map(re.escape, names))})\b", re.IGNORECASE
    )
    return " ".join(given_away.sub(" ", text).split())[:SEEN]


def data() -> Data:
    """One row for each text that differs from all others, and the number of its subpackage."""
    rows: dict[str, str] = {}
    for subpackage, name, text in documented():
        if len(text) >= SHORTEST:
            rows.setdefault(masked(text, subpackage, name), subpackage)
    labels = [LABELS.index(subpackage) for subpackage in rows.values()]
    return Data(encode(list(rows)), np.array(labels, np.int64))


MODELS = {
    "six_layers": lambda: Classifier((0, 1, 2, 3, 4, 5)),
    "three_layers": lambda: Classifier((0, 2, 4)),
    "two_layers": lambda: Classifier((0, 3)),
    "one_layer": lambda: Classifier((0,)),
    "words": lambda: Classifier(()),
}
