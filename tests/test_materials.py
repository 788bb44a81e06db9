"""What a recipe's source cannot be judged by is refused before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_recipe

import compilers
from compilers.materials import gather
from compilers.plan import read_plan
from model_repo.errors import BadInput

ONE_NUMBER = tiny_recipe.SOURCE.replace("nn.Linear(16 * width, 10)", "nn.Linear(16 * width, 1)")


@pytest.mark.parametrize("metric", ["agreement", "cosine"])
def test_a_fidelity_that_tells_nothing_is_refused(metric: str, tmp_path: Path) -> None:
    recipe = f"metric: {metric}\n{tiny_recipe.RECIPE}"
    tiny_recipe.materials(tmp_path / "ten", recipe)
    with pytest.raises(BadInput, match=rf"no {metric} can be told of the output 'scores' \['n', 1"):
        tiny_recipe.materials(tmp_path / "one", recipe, ONE_NUMBER)


def test_the_recipe_in_the_readme_fits_its_source(tmp_path: Path) -> None:
    page = Path(compilers.__path__[0], "README.md").read_text(encoding="utf-8")
    for name, language in (("source.py", "python"), ("recipe.yaml", "yaml")):
        code = page.partition(f"```{language}\n")[2].partition("```")[0]
        (tmp_path / name).write_text(code, encoding="utf-8")
    found = gather(read_plan(tmp_path / "recipe.yaml"), lambda _: None)
    assert found.model.inputs[0].shape == (-1, 64) and len(found.splits.held_out) == 600
