"""What is compiled for hardware that is not here is shelved with an estimate, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_recipe

from compilers import build
from compilers.build import compile_plan
from compilers.plan import read_plan
from compilers.profiling import host, race
from compilers.progress import Progress
from compilers.targets import gpu
from model_repo.errors import MissingExtra
from model_repo.findings import read_skips
from model_repo.records import Skip, Variant, VariantKey
from model_repo.store import Store

RECIPE = tiny_recipe.RECIPE.partition("  int8")[0].replace("[onnx_graph]", "[onnx_graph, tensorrt]")
RECIPE += (
    "  half: {targets: [gpu: {card: T4}], passes: [quantize: {mode: fp16}]}\n"
    "  u8: {targets: [gpu], passes: [quantize: {mode: qdq}]}\n"
)
BOTH = ("cpu", "gpu")


def compiled(folder: Path, store: Store, *targets: str) -> dict[str, str]:
    plan = read_plan(tiny_recipe.write(folder, RECIPE), targets)
    with Progress(len(plan.variants)) as progress:
        return compile_plan(plan, store, progress)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("estimated")


@pytest.fixture(scope="module")
def store(folder: Path) -> Store:
    made = Store(folder / "shelf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(race, "run", lambda *_: pytest.fail("nothing here tells times of a GPU"))
        assert compiled(folder, made, *BOTH) == {}, "what a target refuses is no failure"
    return made


def shelved(store: Store, name: str) -> Variant:
    return store.variant(VariantKey("tiny", "1", name))


def test_times_are_the_estimate_and_accuracy_is_measured(store: Store) -> None:
    names = [key.variant for key in store.keys("tiny", "1")]
    assert names == ["cpu-fp32", "gpu-fp32", "gpu-half"]
    reference, made = shelved(store, "cpu-fp32"), shelved(store, "gpu-fp32")
    assert (made.target, made.kind, made.profile.source) == ("gpu", "variant", "estimated")
    assert made.profile.accuracy == reference.profile.accuracy
    origin = made.profile.accuracy_origin
    assert origin is not None and origin.host == host.name()
    assert "L4" in made.profile.host and "T4" in shelved(store, "gpu-half").profile.host
    for point, size in zip(made.profile.latency, (1, 4), strict=True):
        assert (point.batch_size, point.runs) == (size, 0)
        assert 0 < point.device_low_s < point.device_high_s == point.device_s == point.p99_s
    assert made.profile.is_settled, "what was not measured was not disturbed"
    assert made.notes.keys() > reference.notes.keys(), "whoever estimated told what it is made of"


def test_a_second_compile_finds_nothing_to_do_and_the_reasons_stay(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "gather", lambda *_: pytest.fail("there is nothing to do"))
    assert compiled(folder, store, *BOTH) == compiled(folder, store) == {}
    skips = read_skips(store, "tiny", "1")
    assert list(skips) == ["gpu-u8"] and "use quantize in mode symmetric" in skips["gpu-u8"].reason


def test_an_extra_that_only_the_estimate_needs_is_named_and_fails_nothing(
    store: Store, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def estimate(*_: object) -> None:
        raise MissingExtra("estimating", "peaks", "gpu")

    monkeypatch.setattr(gpu, "estimate", estimate)
    other = Store(tmp_path / "shelf")
    assert compiled(folder, other, *BOTH) == {}
    skips = read_skips(other, "tiny", "1")
    said = Skip(
        "estimating needs the package 'peaks', which is not installed: pip install 'farebox[gpu]'"
    )
    assert skips["gpu-fp32"] == skips["gpu-half"] == said
    monkeypatch.undo()
    assert compiled(folder, other, *BOTH) == {}
    assert list(read_skips(other, "tiny", "1")) == ["gpu-u8"]
