"""A search tries what makes sense, keeps what pays, and says it as a recipe would."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import tiny_recipe
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from compilers.build import compile_plan
from compilers.cache import Cache
from compilers.materials import gather
from compilers.plan import Plan, read_plan
from compilers.progress import Progress
from compilers.recipe import parse_recipe
from compilers.search import confirm, found, run, space
from compilers.search import trials as trials_module
from compilers.search.alike import dead_end, leads, name_of, shape_of
from compilers.search.explore import UNUSABLE, Search
from compilers.search.halving import TOP
from compilers.search.space import Space, Steps
from compilers.search.trials import Trial, Trials, scaled
from compilers.search.watch import OutOfTime, Watch
from model_repo.errors import BadInput, FareboxError, Unsupported
from model_repo.records import PassStep
from model_repo.store import Store

SPACE = Space(
    {
        "prune": {"ratio": (0.25, 0.5), "epochs": (9,)},
        "distill": {"student": ("student",), "epochs": (9,), "temperature": (1.0, 3.0)},
        "quantize": {"mode": ("static", "dynamic")},
    },
    ("prune", "distill"),
    ("quantize",),
)
SMALL = Space({"quantize": {"mode": ("dynamic",)}}, (), ("quantize",))


@given(st.integers(0, 500))
def test_chains_hold_what_may_be_tried_torch_first(seed: int) -> None:
    rng = np.random.default_rng(seed)
    parents: list[Steps] = []
    for chain in islice(space.proposals(SPACE, parents, rng), 5):
        parents.append(chain)
        forms = [step.name in SPACE.torch for step in chain]
        assert forms == sorted(forms, reverse=True)
        assert sum(forms) == len({step.name for step in chain if step.name in SPACE.torch})
        for step in chain:
            for option, value in step.options.items():
                assert value in SPACE.values[step.name][option]
            assert step.name == "quantize" or step.options["epochs"] == 9


def test_the_recipes_own_values_may_be_combined_with_all_others(tmp_path: Path) -> None:
    plan = read_plan(tiny_recipe.write(tmp_path))
    seen = space.survey(plan, gather(plan, lambda _: None).source)
    assert seen.torch == ("distill", "prune") and "quantize" in seen.onnx
    assert seen.values["prune"]["epochs"] == (3, 9, 1), "as the source, for longer, as the recipe"
    assert seen.values["distill"]["student"] == ("teacher", "student")


@pytest.mark.parametrize("share", [1 / 9, 1 / 3, 1.0])
def test_a_share_of_the_epochs_is_one_at_least(share: float) -> None:
    steps = (PassStep("prune", {"epochs": 9, "ratio": 0.5}), PassStep("quantize", {}))
    assert scaled(steps, share)[0].options == {"epochs": round(9 * share), "ratio": 0.5}
    assert scaled((PassStep("prune", {"epochs": 2}),), share)[0].options["epochs"] in (1, 2)


def full(plan: Plan, tmp_path: Path, steps: Steps) -> Steps:
    admitted = Trials(plan, Cache(tmp_path), gather(plan, lambda _: None)).admit(steps)
    assert admitted
    return admitted


def test_what_is_found_is_said_as_a_recipe_says_it(tmp_path: Path) -> None:
    plan = read_plan(tiny_recipe.write(tmp_path))
    given = (
        PassStep("distill", {"student": "student", "epochs": 9}),
        PassStep("prune", {"ratio": 0.25}),
        PassStep("quantize", {"mode": "dynamic"}),
    )
    steps = full(plan, tmp_path, given)
    name = found.title(steps, "abcdef")
    assert name == "found-student-prune25-quantize-dynamic-abcd"
    text = tiny_recipe.RECIPE + found.lines(name, steps)
    assert parse_recipe(text, "x").variants[name].passes == given, "defaults are left out"
    assert found.spell(()) == "the reference"


def test_chosen_are_those_that_nothing_else_matches() -> None:
    own = [(0.02, 0.0, 0.0)]
    points = {
        "dearer": (0.02, 0.5, 0.5),
        "hardly cheaper": (0.02, -0.01, -0.02),
        "cheaper": (0.02, -1.0, -1.0),
        "as cheap": (0.02, -1.01, -1.01),
        "better": (0.01, 1.0, 1.0),
    }
    assert sorted(found.choose(points, own, 5)) == ["as cheap", "better"]
    assert len(found.choose(points, own, 1)) == 1 and found.choose({}, own, 3) == []


def test_a_watch_ends_what_is_going_on() -> None:
    Watch(100).say("nothing is shown where standard error is no terminal")
    with pytest.raises(OutOfTime):
        Watch(0).say("too late")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store]:
    folder = tmp_path_factory.mktemp("searched")
    plan, store = read_plan(tiny_recipe.write(folder)), Store(folder / "repository")
    with Progress(1) as progress:
        assert compile_plan(plan, store, progress) == {}
    return plan, store


def explore(
    compiled: tuple[Plan, Store], among: Space, watch: Watch, pass_on: Callable[[Trials], Trials]
) -> Search:
    plan, store = compiled
    cache = Cache(store.root)
    trials = pass_on(Trials(plan, cache, replace(gather(plan, watch.say), say=watch.say)))
    search = Search(among, trials, watch, cache, lambda _: 1e-5, plan.recipe.seed)
    search.run(run._own(plan))
    return search


def test_a_small_space_is_exhausted_and_found_again(compiled: tuple[Plan, Store]) -> None:
    first = explore(compiled, SMALL, Watch(1e6), lambda trials: trials)
    assert first.is_exhausted and first.trials.paid == first.ended > len(first.own)
    watch, shown = Watch(1e6), []
    watch.show = lambda text: shown.append((text, watch.state))  # type: ignore[method-assign]
    again = explore(compiled, SMALL, watch, lambda trials: trials)
    assert again.is_exhausted and again.trials.paid == 0
    told = [state for text, state in shown if text == "found again"]
    assert len(told) == again.ended and told[-1].startswith(f"{again.ended - 1} trials, ")
    assert again.rungs.points == first.rungs.points, "figures are measured once"
    assert set(first.rungs.points[TOP]) == set(first.steps), "what is not trained is tried in full"


def test_a_search_without_room_for_its_steps_pays_nothing_twice(
    compiled: tuple[Plan, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cache.trim, "__defaults__", (0,))
    there = compiled[0], Store(tmp_path)
    first = explore(there, SMALL, Watch(1e6), lambda trials: trials)
    again = explore(there, SMALL, Watch(1e6), lambda trials: trials)
    assert first.trials.paid == first.ended == again.ended and again.trials.paid == 0
    assert again.rungs.points == first.rungs.points


def test_a_failing_trial_is_one_line_for_each_reason(
    compiled: tuple[Plan, Store], capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing(Trials):
        def run(self, steps: Steps) -> Trial:
            if steps[-1:] and steps[-1].options.get("mode") == "dynamic":
                self.paid += 1
                raise RuntimeError("the moon\nis full")
            return super().run(steps)

    def fail(trials: Trials) -> Trials:
        trials.__class__ = Failing
        return trials

    search = explore(compiled, SMALL, Watch(1e6), fail)
    assert search.is_exhausted and search.failed >= 1
    said = capsys.readouterr().err
    assert said.count("RuntimeError: the moon is full") == 1 and said.startswith("tried in vain")


def test_what_begins_as_a_failure_did_is_not_proposed_again() -> None:
    prune = PassStep("prune", {"ratio": 0.75, "epochs": 9})
    longer = PassStep("prune", {"ratio": 0.75, "epochs": 27})
    quantize, bf16 = PassStep("quantize", {"spare": 2}), PassStep("bf16")
    failed, reason = (prune, quantize, bf16), "quantize: spare is 2"
    for share, other in ((0.0, True), (1.0, False)):
        end = dead_end(failed, share, reason)
        assert end and leads((prune, quantize), {end}) and leads(failed, {end})
        assert leads((longer, quantize), {end}) == other, "untrained, how it trains is the same"
        assert not leads((prune, bf16), {end}) and not leads((quantize,), {end})
    assert dead_end(failed, 0.0, "RuntimeError: the moon is full") is None


def test_a_search_does_not_propose_what_fails_the_same_way(compiled: tuple[Plan, Store]) -> None:
    plan, store = compiled
    (bad,) = full(plan, store.root, (PassStep("quantize", {"mode": "dynamic"}),))

    class Failing(Trials):
        def run(self, steps: Steps) -> Trial:
            return Trial(failed="quantize: no") if bad in steps else super().run(steps)

    def fail(trials: Trials) -> Trials:
        trials.__class__ = Failing
        return trials

    search = explore(compiled, SMALL, Watch(1e6), fail)
    ways = [steps[: steps.index(bad)] for steps in search.steps.values() if bad in steps]
    assert search.is_exhausted and ways and len({name_of(way) for way in ways}) == len(ways)


def test_accuracy_has_a_floor(compiled: tuple[Plan, Store]) -> None:
    search = explore(compiled, SMALL, Watch(1e6), lambda trials: trials)
    lowest = min(search.best[name].accuracy for name in search.own)
    assert search.floor <= lowest
    name = next(iter(search.own))
    bad, worse = (search.point(name, search.floor - gap, TOP) for gap in (0.01, 0.02))
    assert UNUSABLE < bad[0] < worse[0]
    assert search.point(name, search.floor - 0.02, 0)[0] < 1, "it may yet learn"


def test_times_of_one_shape_are_the_least_seen(compiled: tuple[Plan, Store]) -> None:
    search = explore(compiled, SMALL, Watch(1e6), lambda trials: trials)
    name = next(iter(search.own))
    before = search.point(name, 1.0, TOP)
    assert before == (0.0, *search.rungs.points[TOP][name][1:])
    shape = shape_of(search.steps[name])
    search.costs[shape] = structs.replace(search.costs[shape], item_s=1e-12)
    assert search.point(name, 1.0, TOP)[2] < before[2]


def test_findings_become_variants_of_the_plan_in_their_cheapest_format(
    compiled: tuple[Plan, Store],
) -> None:
    plan, store = compiled
    search = explore(compiled, SMALL, Watch(1e6), lambda trials: trials)
    (name,) = [name for name in search.steps if name not in search.own][:1]
    shape = shape_of(search.steps[name])
    search.costs[shape] = structs.replace(search.costs[shape], lone_s=1e-12, item_s=1e-12)
    search.best[name] = structs.replace(search.best[name], accuracy=2.0)
    findings = run._findings(plan, search, confirm.worth_shelving(search, 1))
    (title,) = findings.variants
    assert title == found.title(search.steps[name], name)
    (added,) = [each for each in findings.plan.variants if each.name == title]
    assert added.artifact_format == search.best[name].artifact_format
    assert findings.plan.variants[: len(plan.variants)] == plan.variants
    with Progress(1) as progress:
        assert compile_plan(findings.plan, store, progress) == {}
        assert compile_plan(plan, store, progress) == {}, "the recipe leaves what was found alone"
    made = tuple(chosen.record for chosen in added.passes)
    assert name_of(store.variant(added.key).steps) == name_of(made)


def test_a_lucky_timing_does_not_survive_a_race(compiled: tuple[Plan, Store]) -> None:
    search = explore(compiled, SMALL, Watch(1e6), lambda trials: trials)
    (name,) = [name for name in search.steps if name not in search.own][:1]
    own = max(search.own, key=lambda each: search.best[each].accuracy)
    search.best[name] = search.best[own]
    search.steps[name] = search.steps[own]  # the same artifact, in truth
    search.point = lambda each, accuracy, rung: (  # type: ignore[method-assign]
        1 - accuracy,
        -0.3 * (each == name),
        -0.3 * (each == name),
    )
    assert name not in confirm.worth_shelving(search, 5)


def test_a_recipe_that_makes_no_sense_is_not_admitted(compiled: tuple[Plan, Store]) -> None:
    plan, store = compiled
    trials = Trials(plan, Cache(store.root), gather(plan, lambda _: None))
    assert trials.admit((PassStep("quantize"), PassStep("prune", {"ratio": 0.5}))) is None
    assert trials.admit((PassStep("distill", {"student": "nobody"}),)) is None
    assert name_of(full(plan, store.root, (PassStep("quantize"),))) != name_of(())


def test_a_trial_that_time_ended_is_no_failure(compiled: tuple[Plan, Store]) -> None:
    plan, store = compiled
    said: list[str] = []

    def out(text: str) -> None:
        said.append(text)
        raise OutOfTime

    steps = full(plan, store.root, (PassStep("prune", {"ratio": 0.25, "epochs": 2}),))
    for _ in range(2):
        trials = Trials(plan, Cache(store.root), replace(gather(plan, lambda _: None), say=out))
        with pytest.raises(OutOfTime):
            trials.run(steps)
    assert len(said) == 2 and trials.paid == 0, "the next search tries it again"


@pytest.mark.parametrize("made_of_it", [BadInput, Unsupported, RuntimeError])
def test_a_full_disk_ends_the_search_and_is_no_failure_of_a_recipe(
    compiled: tuple[Plan, Store],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    made_of_it: type[Exception],
) -> None:
    def fail(*_: object) -> Path:
        raise made_of_it("the graph cannot be saved") from OSError(errno.ENOSPC, "full")

    there = compiled[0], Store(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(trials_module, "produce", fail)
        with pytest.raises(FareboxError, match=r"cannot be written: No space left .*; make room"):
            explore(there, SMALL, Watch(1e6), lambda trials: trials)
    assert explore(there, SMALL, Watch(1e6), lambda trials: trials).failed == 0


def test_options_that_do_not_fit_are_sentences(tmp_path: Path) -> None:
    plan = read_plan(tiny_recipe.write(tmp_path))
    with pytest.raises(BadInput):
        Trials(plan, Cache(tmp_path), gather(plan, lambda _: None))._planned(
            (PassStep("prune", {"ratio": 2.0}),)
        )
