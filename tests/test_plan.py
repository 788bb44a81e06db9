"""A plan knows every pass, target and option, and refuses lists that do not compose."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_recipe

from compilers.plan import read_plan
from model_repo.errors import BadInput


def test_the_reference_comes_first_and_variants_are_named_by_target(tmp_path: Path) -> None:
    text = tiny_recipe.RECIPE.replace("  fp32: []\n", "") + "  fp32: []\n"
    plan = read_plan(tiny_recipe.write(tmp_path, text))
    assert [variant.key.variant for variant in plan.variants] == tiny_recipe.NAMES
    assert [variant.kind for variant in plan.variants] == ["reference", *["variant"] * 4]


def test_a_step_records_every_option(tmp_path: Path) -> None:
    plan = read_plan(tiny_recipe.write(tmp_path))
    (step,) = plan.variants[1].passes
    assert step.record.name == "quantize"
    assert step.record.options["mode"] == "static"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[quantize]", "[quantise]", ["'int8'", "'quantise'", "distill, prune, quantize"]),
        ("batch_sizes", "targets: [cpu, abacus]\nbatch_sizes", ["'abacus'", "targets", "cpu"]),
        ("ratio: 0.5", "ratio: 1.5", ["'pruned'", "'prune'", "ratio", "< 1"]),
        ("ratio: 0.5", "importance: luck", ["importance", "'luck'", "'taylor'"]),
        ("ratio: 0.5", "ration: 0.5", ["'ration'", "ratio", "epochs"]),
        ("ratio: 0.5, ", "", ["ratio", "'prune'"]),
        (
            "[prune: {ratio: 0.5, epochs: 1}, quantize]",
            "[quantize, prune: {ratio: 0.5}]",
            ["'pruned-int8'", "'prune' takes a torch network", "'quantize' before it gives ONNX"],
        ),
        ("source:", "source:\n  module: other.py", ["other.py", "cannot be read", "module"]),
    ],
)
def test_refuses_before_anything_runs(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    assert old in tiny_recipe.RECIPE
    path = tiny_recipe.write(tmp_path, tiny_recipe.RECIPE.replace(old, new, 1))
    with pytest.raises(BadInput) as caught:
        read_plan(path)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_refuses_a_missing_recipe(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"the recipe .*none\.yaml cannot be read"):
        read_plan(tmp_path / "none.yaml")
