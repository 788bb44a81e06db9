"""A compile keeps a profile for the machine it was measured on, if it is worth keeping."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import shelf
import tiny_recipe
from msgspec import structs

from compilers.cache import Cache
from compilers.plan import read_plan
from compilers.profiling import host, measure
from compilers.profiling.profiles import Profiler
from compilers.progress import Progress
from compilers.steps import to_artifact
from model_repo.records import Artifact, Profile

ARTIFACT = Artifact("model.onnx", "onnx_graph", "", 0)


@dataclass
class Told:
    """Asks for the profile of one artifact; `found` is what measuring it gives."""

    folder: Path
    found: Profile = field(default_factory=shelf.profile)
    times: int = 0

    def measured(self, *_: object, **__: object) -> Profile:
        self.times += 1
        return structs.replace(self.found, load_s=float(self.times))

    def ask(self) -> float:
        plan = read_plan(tiny_recipe.write(self.folder))
        planned, materials = plan.variants[0], tiny_recipe.materials(self.folder)
        with Progress(1) as progress:
            profiler = Profiler(plan, Cache(self.folder), materials, progress)
            step = to_artifact(plan, planned)
            return profiler.profile(planned, step, self.folder, ARTIFACT).profile.load_s


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    made = Told(tmp_path)
    monkeypatch.setattr(measure, "profile", made.measured)
    return made


def test_an_artifact_is_measured_once_on_each_machine(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (told.ask(), told.ask()) == (1.0, 1.0)
    monkeypatch.setattr(host, "machine", lambda: "another one")
    assert (told.ask(), told.ask()) == (2.0, 2.0)


def test_what_did_not_settle_is_measured_again(told: Told) -> None:
    told.found = structs.replace(told.found, others_share=0.5)
    assert (told.ask(), told.ask()) == (1.0, 2.0)
