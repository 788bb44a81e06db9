"""What a pass says of an imported file is shelved with the variant, and not with others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_files import linear

from compilers.contracts import Work
from compilers.passes import quantize
from compilers.profiling import race
from model_repo.cli import main
from model_repo.store import Store


def test_notes_of_a_pass_are_shelved_with_its_variants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = quantize.apply

    def noting(model: Any, options: quantize.Options, work: Work) -> Any:
        work.notes[f"quantize.{options.mode}"] = 1.0
        return apply(model, options, work)

    monkeypatch.setattr(quantize, "apply", noting)
    monkeypatch.setattr(race, "losers", lambda times, kept: {})
    rows = np.random.default_rng(0).standard_normal((80, 16)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", x=rows)
    path, data = linear(tmp_path / "m.onnx", columns=16), tmp_path / "rows.npz"
    words = ["import", path, "--data", data, "--repository", tmp_path / "repo"]
    assert main([str(word) for word in words]) == 0
    found = {v.key.variant: v.notes for v in Store(tmp_path / "repo").variants("m", "1")}
    assert found["cpu-reference"] == {}
    assert found["cpu-int8"] == {"quantize.static": 1.0}
    assert found["cpu-int8-dynamic"] == {"quantize.dynamic": 1.0}
