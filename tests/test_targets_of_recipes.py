"""Recipes and --targets choose what each variant is made for, and with which options."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_recipe

from compilers.plan import extend, read_plan
from compilers.recipe import Aim, for_targets, parse_recipe
from model_repo.errors import BadInput
from model_repo.records import PassStep

HEAD = """
model: m
source: {model: net}
splits: {validation: 15, calibration: 10, held_out: 60}
"""


def names(path: Path, *targets: str) -> list[str]:
    return [variant.key.variant for variant in read_plan(path, targets).variants]


def test_a_variant_is_for_every_target_asked_for_unless_it_says_otherwise() -> None:
    recipe = parse_recipe(
        HEAD
        + "variants:\n  fp32: []\n  a: {passes: [quantize], targets: [gpu: {card: T4}, tpu]}\n",
        "r",
    )
    assert recipe.targets == (Aim("cpu"),)
    assert recipe.aims("fp32") == (Aim("cpu"),) and recipe.aims("a") == ()
    asked = for_targets(recipe, ["cpu", "gpu"])
    assert asked.aims("fp32") == (Aim("cpu"), Aim("gpu"))
    assert asked.aims("a") == (Aim("gpu", {"card": "T4"}),)
    assert recipe.variants["a"].passes == (PassStep("quantize"),)


def test_options_of_the_recipe_stand_where_a_variant_gives_none() -> None:
    text = HEAD + "targets: [cpu, gpu: {card: H100}]\nvariants:\n  fp32: []\n"
    recipe = parse_recipe(text, "r")
    assert recipe.aims("fp32") == (Aim("cpu"), Aim("gpu", {"card": "H100"}))
    own = text + "  a: {passes: [quantize], targets: [gpu, cpu]}\n"
    own += "  b: {passes: [quantize], targets: [gpu: {card: T4, mode: eager}]}\n"
    own = own.replace("{card: H100}", "{card: H100, precision: fp16}")
    assert parse_recipe(own, "r").aims("a")[0].options == {"card": "H100", "precision": "fp16"}
    assert parse_recipe(own, "r").aims("b")[0].options == {
        "card": "T4",
        "precision": "fp16",
        "mode": "eager",
    }
    assert for_targets(recipe, ["gpu", "cpu", "tpu"]).targets == (
        Aim("gpu", {"card": "H100"}),
        Aim("cpu"),
        Aim("tpu"),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("variants: {fp32: {targets: [cpu]}}", ["'fp32'", "passes and targets"]),
        ("variants: {fp32: {passes: [], target: cpu}}", ["'fp32'", "passes, target", "targets"]),
        ("variants: {fp32: {passes: [], targets: []}}", ["'fp32'", "one target or more"]),
        ("variants: {fp32: {passes: [], targets: [tpu]}}", ["'fp32'", "leave out 'cpu'"]),
        ("targets: [tpu]\nvariants: {fp32: []}", ["targets is ['tpu']", "'cpu'"]),
        ("targets: [cpu, {}]\nvariants: {fp32: []}", ["{} is no target", "TARGET: {option"]),
        ("targets: [cpu, tpu: 3]\nvariants: {fp32: []}", ["options of 'tpu' are 3"]),
    ],
)
def test_a_recipe_is_refused_with_what_is_wrong(text: str, words: list[str]) -> None:
    with pytest.raises(BadInput) as caught:
        parse_recipe(HEAD + text, "r")
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (["tpu"], ["--targets is ['tpu']", "'cpu' (the reference) among them"]),
        (["cpu", "cpu"], ["name each once"]),
        (["cpu", "npu"], ["'npu'", "cpu, fpga, gpu, tpu"]),
        (["cpu", "fpga"], ["no variant", "'fpga'", "takes the form fixed"]),
    ],
)
def test_targets_asked_for_are_checked_before_anything_runs(
    tmp_path: Path, targets: list[str], words: list[str]
) -> None:
    with pytest.raises(BadInput) as caught:
        read_plan(tiny_recipe.write(tmp_path), targets)
    for word in words:
        assert word in str(caught.value)


def test_forms_decide_what_is_made_for_which_target(tmp_path: Path) -> None:
    few_bits = "  bits: [quantize_aware: {epochs: 1}]\n"
    path = tiny_recipe.write(tmp_path, tiny_recipe.RECIPE + few_bits)
    assert names(path) == tiny_recipe.NAMES, "few bits are for circuits alone"
    assert "fpga-bits" in names(path, "cpu", "fpga")
    tpu = [name for name in names(path, "cpu", "tpu") if name.startswith("tpu")]
    assert tpu == ["tpu-fp32", "tpu-int8", "tpu-pruned", "tpu-pruned-int8", "tpu-student"]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("  b: {targets: [fpga], passes: [quantize]}\n", ["'b'", "'fpga' takes the form fixed"]),
        (
            "  b: {targets: [cpu], passes: [quantize_aware]}\n",
            ["'b'", "onnx", "give fixed", "last"],
        ),
        ("  b: [quantize_aware, quantize]\n", ["'quantize'", "'quantize_aware' before it"]),
        ("  b: {targets: [tpu: {speed: 1}], passes: [quantize]}\n", ["'b'", "'tpu'", "'speed'"]),
        ("  b: {targets: [cpu: {cores: 2}], passes: [quantize]}\n", ["'cpu'", "'cores'"]),
        (
            "  b: {targets: [fpga: {part: ice40-hx99}], passes: [quantize_aware]}\n",
            ["'b'", "'fpga'", "ice40-hx99", "ice40-hx8k"],
        ),
    ],
)
def test_what_leads_nowhere_is_a_sentence_though_it_is_not_asked_for(
    tmp_path: Path, lines: str, words: list[str]
) -> None:
    with pytest.raises(BadInput) as caught:
        read_plan(tiny_recipe.write(tmp_path, tiny_recipe.RECIPE + lines))
    for word in words:
        assert word in str(caught.value)


def test_what_a_search_adds_is_for_the_cpu(tmp_path: Path) -> None:
    plan = read_plan(tiny_recipe.write(tmp_path), ["cpu", "tpu"])
    more = extend(plan, {"found": (PassStep("quantize"),)})
    added = [v.key.variant for v in more.variants if v.name == "found"]
    assert added == ["cpu-found", "cpu-found-openvino"] or all(n.startswith("cpu") for n in added)
    assert {v.target.TARGET for v in more.on_cpu} == {"cpu"}
