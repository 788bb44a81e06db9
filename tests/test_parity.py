"""What was rewritten must answer as before, in numbers, at every batch size that is checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_files
import pytest
import tiny_recipe

from compilers.build import compile_plan
from compilers.graph import graphs, parity
from compilers.graph.parity import Runner
from compilers.materials import Materials
from compilers.plan import read_plan
from compilers.progress import Progress
from model_repo.cli import main
from model_repo.errors import BadInput
from model_repo.store import Store

NAN = tiny_recipe.SOURCE.replace(
    '"teacher": lambda: convolved(8),', '"teacher": lambda: spoiled(convolved(8)),'
).replace(
    "MODELS =",
    "def spoiled(module):\n    nn.init.constant_(module[0].weight, float('nan'))\n"
    "    return module\n\n\nMODELS =",
)


@pytest.fixture(scope="module")
def materials(tmp_path_factory: pytest.TempPathFactory) -> Materials:
    return tiny_recipe.materials(tmp_path_factory.mktemp("recipe"))


def answer(value: float, at: int = 0) -> Runner:
    """Ten scores of one row each, all alike but one of the batches larger than `at`."""

    def run(inputs: object) -> np.ndarray:
        (image,) = inputs.values()  # type: ignore[attr-defined]
        return np.full((len(image), 10), value if len(image) > at else 1.0, np.float32)

    return run


def test_equal_answers_pass_and_small_differences_too(materials: Materials) -> None:
    parity.check(answer(1.0), answer(1.0), materials)
    parity.check(answer(1.0), answer(1.0005), materials)


@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_difference_at_any_batch_size_is_refused(materials: Materials, at: int) -> None:
    with pytest.raises(BadInput, match=r"at batch [134] .* differ by 0\.1 of .* 0\.001 is allowed"):
        parity.check(answer(1.0), answer(1.1, at), materials)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_never_passes(materials: Materials, value: float) -> None:
    with pytest.raises(BadInput, match="the model answers NaN or infinity: look for such in its"):
        parity.check(answer(value), answer(value), materials)
    with pytest.raises(BadInput, match="the rewritten model answers NaN or infinity, and"):
        parity.check(answer(1.0), answer(value), materials)


def test_how_close_depends_on_the_precision(tmp_path: Path) -> None:
    proto = onnx.load(onnx_files.linear(tmp_path / "m.onnx"))
    assert parity.tolerance_of(proto) == parity.TOLERANCE
    proto.metadata_props.add(key=graphs.PRECISION, value="bf16")
    assert parity.tolerance_of(proto) == parity.BF16_TOLERANCE
    proto.graph.node.append(onnx_files.node("QuantizeLinear", "y s z", "q"))
    assert parity.tolerance_of(proto) == parity.QUANTIZED_TOLERANCE


def test_a_reference_with_nan_weights_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny_recipe.RECIPE.partition("  int8")[0].replace("epochs: 3", "epochs: 0")
    path = tiny_recipe.write(tmp_path, recipe, NAN)
    assert main(["compile", str(path), "--repository", str(tmp_path / "shelf")]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "no numbers" in told
    assert Store(tmp_path / "shelf").versions() == []


def test_a_variant_with_nan_weights_is_refused_and_the_others_are_made(tmp_path: Path) -> None:
    recipe = tiny_recipe.RECIPE.partition("  int8")[0]
    recipe += "  student: [distill: {student: student, epochs: 1}]\n"
    source = tiny_recipe.SOURCE.replace(
        "nn.Linear(64, 10))", "nn.Linear(64, 10), nn.Hardtanh(float('nan'), float('nan')))"
    )
    plan = read_plan(tiny_recipe.write(tmp_path, recipe, source))
    store = Store(tmp_path / "shelf")
    with Progress(2) as progress:
        failures = compile_plan(plan, store, progress)
    assert list(failures) == ["cpu-student"] and "no numbers" in failures["cpu-student"]
    assert [key.variant for key in store.keys("tiny", "1")] == ["cpu-fp32"]
