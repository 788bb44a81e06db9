"""What a recipe's source cannot be judged by is refused before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_recipe

from model_repo.errors import BadInput

ONE_NUMBER = tiny_recipe.SOURCE.replace("nn.Linear(16 * width, 10)", "nn.Linear(16 * width, 1)")


@pytest.mark.parametrize("metric", ["agreement", "cosine"])
def test_a_fidelity_that_tells_nothing_is_refused(metric: str, tmp_path: Path) -> None:
    recipe = f"metric: {metric}\n{tiny_recipe.RECIPE}"
    tiny_recipe.materials(tmp_path / "ten", recipe)
    with pytest.raises(BadInput, match=rf"no {metric} can be told of the output 'scores' \['n', 1"):
        tiny_recipe.materials(tmp_path / "one", recipe, ONE_NUMBER)
