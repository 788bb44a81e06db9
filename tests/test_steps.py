"""Variants share the steps they have in common, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_recipe
import torch

from compilers import forms
from compilers.cache import Cache
from compilers.forms import TorchModel
from compilers.materials import gather
from compilers.passes import prune
from compilers.plan import read_plan
from compilers.steps import Step, produce, to_artifact


def chain(step: Step | None) -> list[str]:
    """Digests, the source's first."""
    return [] if step is None else [*chain(step.parent), step.digest]


def chains(
    folder: Path, recipe: str = tiny_recipe.RECIPE, source: str = tiny_recipe.SOURCE
) -> dict[str, list[str]]:
    plan = read_plan(tiny_recipe.write(folder, recipe, source))
    return {variant.key.variant: chain(to_artifact(plan, variant)) for variant in plan.variants}


def test_a_prefix_is_shared(tmp_path: Path) -> None:
    found = chains(tmp_path)
    plain, int8 = found["cpu-fp32"], found["cpu-int8"]
    pruned, both = found["cpu-pruned"], found["cpu-pruned-int8"]
    assert len({steps[0] for steps in found.values()}) == 1, "one source is trained once"
    assert plain[:2] == int8[:2], "and exported once"
    assert pruned[:3] == both[:3] and pruned[1] != int8[1]
    assert len({steps[-1] for steps in found.values()}) == len(found)


def test_the_same_recipe_elsewhere_has_the_same_digests(tmp_path: Path) -> None:
    assert chains(tmp_path / "a") == chains(tmp_path / "b" / "c")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("model: tiny", "model: tiny\nseed: 1"),
        ("epochs: 3", "epochs: 4"),
        ("held_out: 100", "held_out: 101"),
        ("model: teacher", "model: student"),
    ],
)
def test_what_the_source_is_made_of_changes_every_step(tmp_path: Path, old: str, new: str) -> None:
    before, after = chains(tmp_path), chains(tmp_path, tiny_recipe.RECIPE.replace(old, new, 1))
    for name in before:
        assert not set(before[name]) & set(after[name])


def test_the_source_module_counts(tmp_path: Path) -> None:
    before = chains(tmp_path)
    after = chains(tmp_path, source=tiny_recipe.SOURCE + "\n# changed\n")
    assert before["cpu-fp32"][0] != after["cpu-fp32"][0]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("model: tiny", "model: other"),
        ("model: tiny", 'model: tiny\nversion: "2"'),
        ("[1, 4]", "[1, 2, 4]"),
        ("[quantize]", "[quantize: {mode: static}]"),
        ("  fp32: []", "  plain: []"),
    ],
)
def test_what_makes_no_other_weights_changes_no_step(tmp_path: Path, old: str, new: str) -> None:
    before, after = chains(tmp_path), chains(tmp_path, tiny_recipe.RECIPE.replace(old, new, 1))
    assert list(before.values()) == list(after.values())


def test_an_option_changes_its_own_variant_only(tmp_path: Path) -> None:
    recipe = tiny_recipe.RECIPE.replace("[quantize]", "[quantize: {reduce_range: true}]")
    before, after = chains(tmp_path), chains(tmp_path, recipe)
    assert [name for name in before if before[name] != after[name]] == ["cpu-int8"]


def test_a_pass_sees_the_reference_as_trained_whatever_came_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def look(model: TorchModel, options: Any, work: Any) -> TorchModel:
        seen.append((model.network, work.reference()))
        return model

    monkeypatch.setattr(prune, "apply", look)
    chain = "[distill: {student: student, epochs: 1}, prune: {kind: unstructured}]"
    recipe = tiny_recipe.RECIPE + f"  chain: {chain}\n"
    plan = read_plan(tiny_recipe.write(tmp_path, recipe))
    materials, cache = gather(plan, lambda _: None), Cache(tmp_path)
    (last, *_) = [to_artifact(plan, v) for v in plan.variants if v.key.variant == "cpu-chain"]
    produce(last, cache, materials)
    first = last
    while first.parent:
        first = first.parent
    wanted = forms.load(produce(first, cache, materials), materials.source, 0).module.state_dict()
    ((network, reference),) = seen
    assert network == "student"
    assert all(torch.equal(wanted[name], t) for name, t in reference.state_dict().items())
