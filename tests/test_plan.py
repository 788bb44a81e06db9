"""A plan knows every pass, target and option, and refuses lists that do not compose."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_recipe

from compilers.passes import quantize
from compilers.plan import read_plan
from compilers.targets import cpu
from model_repo.errors import BadInput
from model_repo.records import PassStep


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
        ("[quantize]", "[quantise]", ["'int8'", "'quantise'", "prune, quantize"]),
        ("batch_sizes", "targets: [cpu, abacus]\nbatch_sizes", ["'abacus'", "targets", "cpu"]),
        ("ratio: 0.5", "ratio: 1.5", ["'pruned'", "'prune'", "ratio", "< 1"]),
        ("ratio: 0.5", "importance: luck", ["importance", "'luck'", "'taylor'"]),
        ("ratio: 0.5", "ration: 0.5", ["'ration'", "ratio", "epochs"]),
        ("student: student, ", "", ["student", "'distill'"]),
        (
            "[prune: {ratio: 0.5, epochs: 1}, quantize]",
            "[quantize, prune: {ratio: 0.5}]",
            ["'pruned-int8'", "'prune' takes the form torch", "'quantize' before it gives onnx"],
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


BOTH = tiny_recipe.RECIPE.replace("formats: [onnx_graph]\n", "")


def planned(folder: Path, text: str) -> list[tuple[str, str, str]]:
    plan = read_plan(tiny_recipe.write(folder, text))
    return [(each.key.variant, each.artifact_format, each.kind) for each in plan.variants]


def test_a_target_gets_every_format_and_the_reference_comes_first(tmp_path: Path) -> None:
    assert planned(tmp_path, BOTH)[:4] == [
        ("cpu-fp32", "onnx_graph", "reference"),
        ("cpu-fp32-openvino", "openvino_ir", "variant"),
        ("cpu-int8", "onnx_graph", "variant"),
        ("cpu-int8-openvino", "openvino_ir", "variant"),
    ]


def test_formats_that_are_left_out_are_not_made_but_the_reference_is(tmp_path: Path) -> None:
    text = BOTH.replace("batch_sizes", "formats: [openvino_ir]\nbatch_sizes")
    assert planned(tmp_path, text)[:3] == [
        ("cpu-fp32", "onnx_graph", "reference"),
        ("cpu-fp32-openvino", "openvino_ir", "variant"),
        ("cpu-int8-openvino", "openvino_ir", "variant"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "batch_sizes",
            "formats: [onnx]\nbatch_sizes",
            "formats names .onnx.: choose from",
        ),
        ("  pruned: [", "  int8-openvino: [", "'int8' and 'int8-openvino' would both be shelved"),
        ("  int8: [", f"  {'x' * 117}: [", "'cpu-x+-openvino' is not allowed"),
    ],
)
def test_formats_and_names_that_cannot_be_are_refused(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        planned(tmp_path, BOTH.replace(old, new, 1))


def test_a_target_without_a_format_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"openvino_ir": cpu.FORMATS["openvino_ir"]}
    monkeypatch.setattr(cpu, "FORMATS", other)
    text = BOTH.replace("batch_sizes", "formats: [onnx_graph]\nbatch_sizes")
    with pytest.raises(BadInput, match=r"formats names 'onnx_graph': choose from .*openvino_ir"):
        planned(tmp_path, text)


def test_a_pass_may_refuse_what_came_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check_after(options: object, before: tuple[PassStep, ...]) -> None:
        if before:
            raise BadInput(f"not after {before[0].name} with ratio {before[0].options['ratio']}")

    monkeypatch.setattr(quantize, "check_after", check_after, raising=False)
    with pytest.raises(BadInput, match=r"'pruned-int8': not after prune with ratio 0\.5"):
        planned(tmp_path, BOTH)
