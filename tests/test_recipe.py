"""A recipe is read whole or refused with the key that is wrong and what is allowed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compilers.recipe import CascadeSpec, Recipe, parse_recipe
from model_repo.errors import BadInput
from model_repo.records import PassStep

TEXT = """
model: digits
version: "2"
seed: 7
source: {model: teacher, training: {epochs: 3}}
splits: {validation: 15, calibration: 10, held_out: 60}
variants:
  fp32: []
  small: [distill: {student: small}, quantize]
"""


def test_reads_every_part() -> None:
    recipe = parse_recipe(TEXT, "recipe.yaml")
    assert (recipe.model, recipe.version, recipe.seed) == ("digits", "2", 7)
    assert recipe.source.module == "source.py"
    assert recipe.source.training.epochs == 3
    assert recipe.splits.held_out == 60
    assert recipe.variants["small"].passes == (
        PassStep("distill", {"student": "small"}),
        PassStep("quantize"),
    )
    assert recipe.reference == "fp32"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seed: 7", "sed: 7", ["no key 'sed'", "seed", "variants"]),
        ("epochs: 3", "epoch: 3", ["source, training", "no key 'epoch'", "epochs"]),
        (
            "epochs: 3",
            "epochs: -3",
            ["recipe.yaml, source, training, epochs is -3: give a whole number >= 0"],
        ),
        ('version: "2"', "version: 2", ["recipe.yaml, version is 2: give a string, in quotes"]),
        ('version: "2"', 'version: "2/3"', ["version '2/3'", "letters, digits"]),
        ("model: digits", "model: .digits", ["model '.digits'"]),
        ("seed: 7", "metric: speed", ["metric is 'speed'", "'agreement'"]),
        ("seed: 7", "batch_sizes: [2, 4]", ["batch_sizes", "the first of them 1"]),
        ("seed: 7", "batch_sizes: [1, 4, 4]", ["batch_sizes", "rising"]),
        ("seed: 7", "batch_sizes: []", ["batch_sizes"]),
        ("seed: 7", "targets: []", ["targets", "one target or more"]),
        ("seed: 7", "targets: [cpu, cpu]", ["targets", "once"]),
        ("fp32: []", "fp32: [quantize]", ["without passes: none", "exactly one"]),
        ("fp32: []", "fp32: []\n  bare: []", ["fp32, bare", "exactly one"]),
        ("fp32: []", "fp32:", ["'fp32'", "list of passes"]),
        ("fp32: []", "'fp 32': []", ["variant 'fp 32'"]),
        ("quantize]", "{a: {}, b: {}}]", ["is no pass", "PASS"]),
        ("quantize]", "quantize: 3]", ["options of 'quantize'"]),
        ("model: digits\n", "", ["recipe.yaml lacks the key 'model': give it a value"]),
        ("seed: 7", "targets: cpu", ["recipe.yaml: targets is 'cpu': give a list"]),
        ("seed: 7", "batch_sizes: [1, 2, x]", ["batch_sizes, entry 3 is 'x': give a whole number"]),
        ("splits: {validation: 15, ", "splits: {", ["validation"]),
        ("held_out: 60", "held_out: 0", ["held_out", ">= 1"]),
        ("model: digits", "model: digits\nmodel: other", ["'model' stands twice"]),
        ("seed: 7", "seed: [", ["not valid YAML"]),
        ("seed: 7", "cascades: {risk: 0}", ["cascades, risk is 0", "> 0"]),
        ("seed: 7", "cascades: {risks: 0.1}", ["cascades", "no key 'risks'", "risk, pairs"]),
        ("seed: 7", "cascades: {}", ["conformal is 0", "risk 0.01", "at least 99"]),
        ("seed: 7", "cascades: {}\nmetric: cosine", ["'cosine'", "no answer is right"]),
        ("seed: 7", "cascades: {pairs: [a]}", ["cascades, pairs, entry 1 is 'a': give a list"]),
    ],
)
def test_refuses_in_one_sentence(old: str, new: str, words: list[str]) -> None:
    assert old in TEXT
    with pytest.raises(BadInput) as caught:
        parse_recipe(TEXT.replace(old, new, 1), "recipe.yaml")
    message = str(caught.value)
    assert message.startswith("recipe.yaml")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_cascades_are_asked_for_with_the_rows_they_need() -> None:
    text = TEXT.replace("held_out: 60", "held_out: 60, conformal: 99")
    assert parse_recipe(text, "recipe.yaml").cascades is None
    found = parse_recipe(f"{text}cascades: {{pairs: [[cpu-a, cpu-b]]}}\n", "recipe.yaml").cascades
    assert found == CascadeSpec(0.01, (("cpu-a", "cpu-b"),))
    assert parse_recipe(f"{text}cascades: {{}}\n", "recipe.yaml").cascades == CascadeSpec()


@given(st.from_regex(r"[a-z_]{1,12}", fullmatch=True))
def test_every_unknown_key_is_named(key: str) -> None:
    if key in Recipe.__struct_fields__:
        return
    with pytest.raises(BadInput, match=f"has no key '{key}': the allowed keys are model, "):
        parse_recipe(f"{TEXT}\n'{key}': 1\n", "recipe.yaml")


@given(st.text(max_size=60))
def test_any_text_is_a_recipe_or_bad_input(text: str) -> None:
    with pytest.raises(BadInput):
        parse_recipe(text, "recipe.yaml")
