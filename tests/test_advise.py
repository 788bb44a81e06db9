"""What to compile next is the variant that shelves whose best is known lack."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnx_files
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from shelf import model as signature

from compilers.advice.advise import advise
from compilers.advice.guess import guesses
from compilers.advice.mix import SloClass, SloMix
from compilers.advice.prunable import is_prunable
from compilers.advice.ratio import call_s, foretell
from compilers.commands import advise as advise_command
from model_repo import cli
from model_repo.findings import note_skip
from model_repo.records import (
    Artifact,
    LatencyPoint,
    PassStep,
    Profile,
    Skip,
    Variant,
    VariantKey,
)
from model_repo.store import Store, describe

PRUNED, INT8 = PassStep("prune", {"ratio": 0.6}), PassStep("quantize")
SMALL = PassStep("distill", {"student": "small"})
USD = 1e-3
CALL_S = 1e-6


def profile(item_s: float, accuracy: float = 0.98, call: float = CALL_S) -> Profile:
    """A call costs `call`, and each row `item_s`; p99 is three times that."""
    points = tuple(
        LatencyPoint(n, 1.0 * s, 2.0 * s, 3.0 * s, s, 100)
        for n, s in ((n, call + n * item_s) for n in (1, 4, 16))
    )
    return Profile(
        accuracy, accuracy - 0.01, min(1.0, accuracy + 0.01), 600, points, 0.1, 9, "h", "measured",
        datetime.now(UTC),
    )  # fmt: skip


def variant(
    name: str, item_s: float, *steps: PassStep, accuracy: float = 0.98, form: str = "onnx_graph"
) -> Variant:
    kind = "variant" if steps or form != "onnx_graph" else "reference"
    key, artifact = VariantKey("toy", "1", f"cpu-{name}"), Artifact("m", form, f"s-{name}", 1)
    return Variant(key, kind, "cpu", artifact, profile(item_s, accuracy), steps)


REFERENCE = variant("fp32", 1e-3)
HALF = variant("half", 4e-4, PRUNED)
QUANTIZED = variant("int8", 3e-4, INT8, accuracy=0.975)
SHELF = [REFERENCE, HALF, QUANTIZED]


def mix(*classes: SloClass) -> SloMix:
    return SloMix(classes or (SloClass("all", 1.0, min_accuracy=0.96),), requests_per_day=1e6)


def asked(shelf: list[Variant], wanted: SloMix, known: tuple[str, ...] = ("cascades",)):  # noqa: ANN201  # what advise gives
    return advise(wanted, ("toy", "1"), shelf, guesses(shelf, known), lambda _: USD)


def test_it_names_the_combination_that_is_missing() -> None:
    answer = asked(SHELF, mix())
    assert answer.advice is not None and answer.advice.variant == "cpu-half-int8"
    assert answer.advice.recipe == {
        "variants": {"half-int8": [{"prune": {"ratio": 0.6}}, "quantize"]}
    }
    # half costs 0.4 of the reference, int8 0.3, so both cost 0.12; int8 alone is the cheapest now.
    assert answer.usd_per_day == pytest.approx(1e6 * (CALL_S + 3e-4) * USD)
    expected = 1e6 * (CALL_S + 1.2e-4) * USD
    assert answer.advice.saving_usd_per_day == pytest.approx(answer.usd_per_day - expected)
    assert answer.advice.accuracy == pytest.approx(0.975)
    (move,) = answer.advice.moves
    assert (move.name, move.left) == ("all", "cpu-int8")
    assert move.usd_per_day == pytest.approx(expected)
    low, high = answer.advice.saving_low, answer.advice.saving_high
    assert 0 < low < answer.advice.saving_usd_per_day < high


def test_once_it_is_there_nothing_is_left_to_combine() -> None:
    answer = asked([*SHELF, variant("half-int8", 1.3e-4, PRUNED, INT8, accuracy=0.975)], mix())
    assert answer.advice is None and answer.closest == ""


def test_what_failed_before_is_not_named_again() -> None:
    answer = asked(SHELF, mix(), ("cascades", "cpu-half-int8"))
    assert answer.advice is None


def test_a_class_that_needs_more_accuracy_is_not_moved() -> None:
    # Predicted at 0.975, 0.965 or better: the strict class stays, the loose one goes.
    strict = SloClass("strict", 0.5, min_accuracy=0.968)
    answer = asked(SHELF, mix(strict, SloClass("loose", 0.5, min_accuracy=0.96)))
    assert [seat.variant for seat in answer.classes] == ["cpu-half", "cpu-int8"]
    assert answer.advice is not None
    assert [move.name for move in answer.advice.moves] == ["loose"]


def test_losses_add() -> None:
    half = variant("half", 4e-4, PRUNED, accuracy=0.970)
    answer = asked([REFERENCE, half, QUANTIZED], mix(SloClass("all", 1.0)))
    assert answer.advice is not None and answer.advice.accuracy == pytest.approx(0.965)


def test_a_class_that_nothing_serves_comes_first() -> None:
    # p99 is three times the mean: 0.9 ms for int8, and 0.36 for the two together.
    answer = asked(SHELF, mix(SloClass("fast", 0.01, 0.5), SloClass("slow", 0.99)))
    fast, slow = answer.classes
    assert fast.variant is None and fast.missed.startswith("cpu-int8: p99 is 0.903 ms, and 0.5 ")
    assert slow.variant == "cpu-int8"
    assert answer.advice is not None and answer.advice.moves[0].left is None


@pytest.mark.parametrize(
    ("bound", "missed"),
    [
        ({"min_accuracy": 0.999}, "accuracy is 0.9650 or better, and 0.999 is asked for"),
        ({"latency_ms": 0.001}, "p99 is 0.363 ms, and 0.001 ms are asked for"),
    ],
)
def test_a_class_that_nothing_would_serve_is_told_what_comes_closest(
    bound: dict[str, float], missed: str
) -> None:
    answer = asked(SHELF, mix(SloClass("a", 1.0, **bound)))
    assert answer.advice is None and answer.classes[0].variant is None
    assert answer.classes[0].foretold == f"cpu-half-int8: {missed}"


def test_the_ratio_seen_nearest_counts_and_another_widens_the_range() -> None:
    tiny, tiny8 = variant("tiny", 1e-6, SMALL), variant("tiny-int8", 2e-6, SMALL, INT8)
    alone = asked(SHELF, mix()).advice
    wide = asked([*SHELF, tiny, tiny8], mix(SloClass("all", 1.0, min_accuracy=0.96, items=16)))
    assert alone is not None and wide.advice is None, "tiny is cheaper than all that is foretold"
    found = {g.name: g for g in guesses([*SHELF, tiny, tiny8], ["cascades"])}["cpu-half-int8"]
    assert found.expected.latency[0].device_s == pytest.approx(CALL_S + 1.2e-4, rel=1e-3)
    assert found.at_worst.latency[0].device_s > 6 * found.expected.latency[0].device_s
    assert found.at_best.latency[0].device_s < found.expected.latency[0].device_s


def test_passes_are_combined_only_where_they_make_sense() -> None:
    names = {g.name for g in guesses([*SHELF, variant("tiny", 1e-6, SMALL)], ["cascades"])}
    assert names == {"cpu-half-int8", "cpu-tiny-half", "cpu-tiny-int8"}, (
        "nothing is quantized or pruned twice, pruned as ONNX, or distilled when small"
    )


def test_what_is_known_less_surely_widens_the_range_and_is_named() -> None:
    def noisy(variant: Variant) -> Variant:
        points = tuple(
            structs.replace(p, device_low_s=p.device_s / 1.5, device_high_s=p.device_s * 1.5)
            for p in variant.profile.latency
        )
        told = structs.replace(variant.profile, latency=points)
        return structs.replace(variant, profile=told)

    def worst(shelf: list[Variant]) -> float:
        (found,) = guesses(shelf, ["cascades"])
        high, mid, low = (
            told.latency[2].device_s for told in (found.at_worst, found.expected, found.at_best)
        )
        assert high / mid == pytest.approx(mid / low, rel=0.1)
        return high / mid

    busy = structs.replace(HALF, profile=structs.replace(HALF.profile, others_share=0.5))
    assert asked(SHELF, mix()).noisy == ()
    assert worst(SHELF) < 1.2 and worst([REFERENCE, busy, QUANTIZED]) > 1.5
    shelf = [REFERENCE, noisy(HALF), QUANTIZED]
    assert worst(shelf) == pytest.approx(1.5 * worst(SHELF), rel=0.01)
    assert worst([*map(noisy, SHELF)]) > 2
    assert asked(shelf, mix()).noisy == ("cpu-half",)
    pair = [REFERENCE, noisy(variant("tiny", 1e-5, SMALL, accuracy=0.95))]
    (calm,) = guesses([REFERENCE, variant("tiny", 1e-5, SMALL, accuracy=0.95)], ())
    (found,) = guesses(pair, ())
    assert found.at_worst.latency[0].device_s == pytest.approx(
        1.5 * calm.at_worst.latency[0].device_s
    )


def test_what_has_nothing_to_prune_is_not_pruned(tmp_path: Path) -> None:
    def made(name: str, layers: int) -> Variant:
        nodes = [
            onnx.helper.make_node("MatMul", [f"h{i}", f"w{i}"], [f"h{i + 1}"], f"layer{i}")
            for i in range(layers)
        ]
        path = onnx_files.write(
            tmp_path / f"{name}.onnx",
            nodes,
            [("h0", onnx_files.FLOAT, ["n", 4])],
            [(f"h{layers}", onnx_files.FLOAT, ["n", 4])],
            {f"w{i}": np.eye(4, dtype=np.float32) for i in range(layers)},
        )
        told = structs.replace(variant(name, 1e-6, SMALL), artifact=describe(path, "onnx_graph"))
        store.commit(told, path)
        return told

    store = Store(tmp_path / "repository")
    store.root.mkdir()
    store.commit_model(signature("toy"))
    shelf = [*SHELF, made("flat", 1), made("deep", 2)]
    names = {g.name for g in guesses(shelf, ["cascades"], partial(is_prunable, store))}
    assert "cpu-deep-half" in names and "cpu-flat-int8" in names and "cpu-flat-half" not in names


def test_what_a_search_found_is_named_by_its_steps_alone() -> None:
    teacher = variant("found-teacher-05d0", 2e-4, PassStep("distill", {"student": "teacher"}))
    pruned = variant("found-prune50-magnitude-95a3", 4e-4, PRUNED)
    found = {g.name: g for g in guesses([REFERENCE, teacher, pruned], ["cascades"])}
    assert list(found) == ["cpu-teacher-prune50-magnitude"]
    assert list(found["cpu-teacher-prune50-magnitude"].recipe["variants"]) == [
        "teacher-prune50-magnitude"
    ]


def test_the_accuracy_of_what_is_unlike_anything_measured_is_less_sure() -> None:
    big, small = profile(1e-2), profile(1e-6)
    near = foretell(big, profile(1e-2), profile(5e-3), 0.0)
    far = foretell(small, profile(1e-2), profile(5e-3), 0.0)
    assert near.accuracy_low == pytest.approx(0.97) and far.accuracy_low < 0.95


def test_another_format_is_named_by_what_it_did_for_others() -> None:
    shelf = [*SHELF, variant("int8-openvino", 2.4e-4, INT8, accuracy=0.975, form="openvino_ir")]
    found = {g.name: g for g in guesses(shelf, ["cascades"])}
    assert found["cpu-half-openvino"].recipe == {"formats": ["onnx_graph", "openvino_ir"]}
    assert found["cpu-half-openvino"].expected.latency[2].device_s == pytest.approx(
        CALL_S + 16 * 0.8 * 4e-4, rel=1e-2
    )
    assert "cpu-fp32-openvino" in found and "cpu-int8-openvino" not in found


def test_cascades_are_named_where_none_was_looked_for() -> None:
    shelf = [REFERENCE, variant("tiny", 1e-5, SMALL, accuracy=0.95)]
    answer = asked(shelf, mix(), ())
    assert answer.advice is not None and answer.advice.variant == "cpu-tiny-to-fp32"
    assert answer.advice.recipe["splits"] == {"conformal": 99}
    # 5 % are wrong, so 15 % are taken to go on.
    assert answer.advice.moves[0].usd_per_day == pytest.approx(
        1e6 * USD * (1.1e-5 + 0.15 * 1.001e-3)
    )
    assert answer.advice.accuracy == pytest.approx(0.97)
    assert asked(shelf, mix(), ("cascades",)).advice is None, "they were looked for"


def test_if_nothing_pays_the_closest_is_named() -> None:
    half = variant("half", 9.9e-4, PRUNED)
    answer = asked([REFERENCE, half, QUANTIZED], mix())
    assert answer.advice is None
    assert answer.closest.startswith(
        "cpu-half-int8 is foretold at 0.298 usd a day for 'all', where"
    )


@given(st.floats(1e-6, 1e-2), st.floats(0.05, 0.95), st.floats(0.05, 0.95), st.integers(1, 16))
def test_where_ratios_multiply_the_forecast_is_exact(
    item_s: float, one: float, two: float, items: int
) -> None:
    shelf = [
        variant("fp32", item_s),
        variant("half", item_s * one, PRUNED),
        variant("int8", item_s * two, INT8),
    ]
    (found,) = guesses(shelf, ["cascades"])
    truth = profile(item_s * one * two)
    for foretold, real in zip(found.expected.latency, truth.latency, strict=True):
        assert foretold.device_s == pytest.approx(real.device_s, rel=1e-6)


@given(st.lists(st.floats(1e-7, 1e-1), min_size=1, max_size=5), st.floats(0, 1e-4))
def test_what_a_call_costs_is_found_from_any_networks(costs: list[float], call: float) -> None:
    assert call_s(profile(cost, call=call) for cost in costs) == pytest.approx(call, abs=1e-9)


def shelve(store: Store, *variants: Variant) -> None:
    store.root.mkdir(parents=True, exist_ok=True)
    store.commit_model(signature("toy"))
    for each in variants:
        file = store.root / "model.json"
        file.write_text(each.key.variant)
        made = describe(file, "null")
        store.commit(Variant(each.key, each.kind, "cpu", made, each.profile, each.steps), file)
        file.unlink()


@pytest.fixture
def told(tmp_path: Path) -> tuple[Store, list[str]]:
    """A repository, and the arguments to ask about it with."""
    store = Store(tmp_path / "repository")
    shelve(store, *SHELF)
    note_skip(store, "toy", "1", "cascades", Skip("none pays", "digest"))
    path = tmp_path / "mix.yaml"
    path.write_text("requests_per_day: 1e6\nclasses: [{name: all, share: 1, min_accuracy: 0.96}]\n")
    return store, ["--slo-mix", str(path), "--repository", str(store.root)]


def test_the_command_says_what_why_and_what_to_write(
    told: tuple[Store, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["advise", "toy", *told[1]]) == 0
    out = capsys.readouterr().out
    (finding,) = (line for line in out.splitlines() if line.startswith("compile "))
    assert finding.startswith("compile cpu-half-int8: saves ")
    assert "'all' leaves cpu-int8" in finding and "cpu-int8 costs 0.3 of cpu-fp32" in finding
    assert finding.endswith("compile it to know")
    added = yaml.safe_load(out.partition("add to the recipe:\n")[2])
    assert added == {"variants": {"half-int8": [{"prune": {"ratio": 0.6}}, "quantize"]}}


def test_the_command_says_what_to_measure_first(
    told: tuple[Store, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["advise", "toy", *told[1]]) == 0
    assert "noisy" not in capsys.readouterr().out
    busy = structs.replace(HALF.profile, others_share=0.5)
    shelve(told[0], structs.replace(HALF, profile=busy))
    assert cli.main(["advise", "toy", *told[1]]) == 0
    said = "the profiles of cpu-half are noisy: run farebox measure toy/1 first"
    assert said in capsys.readouterr().out


def test_the_command_prints_json(
    told: tuple[Store, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["advise", "toy/1", *told[1], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["advice"]["variant"] == "cpu-half-int8" and found["classes"][0]["name"] == "all"


def test_if_nothing_pays_the_command_says_so(
    told: tuple[Store, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    shelve(told[0], variant("half-int8", 1.2e-4, PRUNED, INT8))
    assert cli.main(["advise", "toy", *told[1]]) == 0
    assert "nothing that the shelf lets one foretell would cost less" in capsys.readouterr().out


def test_the_command_takes_what_is_not_served_for_no_saving(
    told: tuple[Store, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(told[1][1])
    path.write_text("requests_per_day: 1e6\nclasses: [{name: a, share: 1, min_accuracy: 0.999}]\n")
    assert cli.main(["advise", "toy", *told[1]]) == 0
    out = capsys.readouterr().out
    assert "toy/1 serves none of the classes now" in out and "usd a day now" not in out
    assert "nothing foretold serves 'a' (closest: cpu-half-int8: accuracy is 0.9650 or" in out
    assert "would cost less" not in out
    path.write_text(
        "requests_per_day: 1e6\nclasses: [{name: a, share: 0.5, min_accuracy: 0.999},"
        " {name: b, share: 0.5}]\n"
    )
    assert cli.main(["advise", "toy", *told[1]]) == 0
    out = capsys.readouterr().out
    assert "usd a day now, without 'a', which nothing serves" in out
    assert "nothing foretold serves 'a'" in out and "compile cpu-half-int8: saves" in out


def test_what_goes_on_from_a_failure_is_not_named(told: tuple[Store, list[str]]) -> None:
    store = told[0]
    shelve(store, variant("tiny", 1e-6, SMALL), variant("half-int8", 1.2e-4, PRUNED, INT8))
    ends = {"cpu-tiny-half", "cpu-tiny-half-int8"}

    def named() -> set[str]:
        found = advise_command._makeable(store, "toy", "1", store.variants("toy", "1"))
        return ends & {guess.name for guess in found}

    assert named() == ends
    note_skip(store, "toy", "1", "cpu-tiny-half", Skip("dearer than cpu-tiny at 1", "digest"))
    assert named() == {"cpu-tiny-half-int8"}
    note_skip(store, "toy", "1", "cpu-tiny-half", Skip("prune: no channel can go", "digest"))
    assert not named()


@pytest.mark.parametrize("model", ["other", "toy/2"])
def test_an_unknown_model_is_named(
    told: tuple[Store, list[str]], model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["advise", model, *told[1]]) == 2
    assert f"there is no model '{model}'" in capsys.readouterr().err
