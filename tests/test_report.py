"""The report's figures follow from profiles and prices, and its sentences from the figures."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from msgspec import structs
from shelf import profile, shelve

from model_repo.cli import main
from model_repo.findings import note_skip
from model_repo.prices import Price, PriceBook
from model_repo.records import Skip, Variant
from model_repo.report import Row, by_target, finding, rows, times_cheaper
from model_repo.store import Store

DAY = date(2026, 2, 1)
BOOK = PriceBook(
    {"cpu": "small", "gpu": "big", "fpga": "big"},
    (
        Price("small", "vcpu", 2, 0.72, date(2026, 1, 1), "a list"),
        Price("big", "gpu", 1, 36.0, date(2026, 1, 1), "a list"),
    ),
)


def make(folder: Path) -> list[Variant]:
    store = Store(folder)
    shelve(store, "cpu-fp32", profile(0.98, 0.002, 0.001), kind="reference")
    shelve(store, "cpu-int8", profile(0.975, 0.001, 0.00025))
    shelve(store, "cpu-bad", profile(0.5, 0.003, 0.002))
    shelve(store, "gpu-fp16", profile(0.97, 0.0001, 0.000001), target="gpu")
    return store.variants("digits", "1")


def table(folder: Path) -> dict[str, Row]:
    return {row.variant: row for row in rows(make(folder), BOOK, DAY, lambda _: True)}


def test_dollars_are_device_seconds_at_the_price_of_the_target(tmp_path: Path) -> None:
    found = table(tmp_path)
    row = found["cpu-int8"]
    assert row.device_s_per_item == pytest.approx(0.000125)  # ten at five times the cost of one
    assert row.usd_per_million == pytest.approx(1e6 * 0.000125 * 0.72 / 2 / 3600)
    assert row.usd_per_million_batch1 == pytest.approx(2 * row.usd_per_million)
    assert found["gpu-fp16"].usd_per_million == pytest.approx(1e6 * 5e-7 * 36 / 3600)
    assert (row.p50_ms, row.p99_ms) == (pytest.approx(0.5), pytest.approx(1.0))


def test_the_dearest_comes_first_and_savings_are_against_the_reference(tmp_path: Path) -> None:
    listed = rows(make(tmp_path), BOOK, DAY, lambda _: True)
    costs = [row.usd_per_million for row in listed]
    assert costs == sorted(costs, reverse=True)
    by_name = {row.variant: row for row in listed}
    assert times_cheaper(by_name["cpu-int8"], listed) == pytest.approx(4.0)
    assert times_cheaper(by_name["cpu-fp32"], listed) == 1.0
    assert times_cheaper(by_name["cpu-bad"], [by_name["cpu-bad"]]) is None


def test_what_is_beaten_estimated_or_not_servable_is_not_on_the_front(tmp_path: Path) -> None:
    assert {name for name, row in table(tmp_path).items() if row.pareto} == {
        "cpu-fp32",
        "cpu-int8",
        "gpu-fp16",
    }
    variants = [
        *make(tmp_path),
        shelve(Store(tmp_path), "wish", profile(0.99, 1e-6, 1e-9, source="estimated")),
    ]
    listed = rows(variants, BOOK, DAY, lambda variant: variant.target == "cpu")
    by_name = {row.variant: row for row in listed}
    assert {name for name, row in by_name.items() if row.pareto} == {"cpu-fp32", "cpu-int8"}
    assert not by_name["gpu-fp16"].servable and by_name["wish"].source == "estimated"
    assert "4.0x cheaper" in finding(listed)


def test_the_finding_is_what_the_table_shows(tmp_path: Path) -> None:
    listed = list(table(tmp_path).values())
    fp32, int8 = (next(r for r in listed if r.variant == n) for n in ("cpu-fp32", "cpu-int8"))
    assert finding([fp32, int8]) == "digits/1: 4.0x cheaper within 1 point of the reference"
    assert finding([fp32]) == "digits/1: only the reference is there"
    assert "no reference" in finding([int8, int8])
    bad = next(row for row in listed if row.variant == "cpu-bad")
    assert "nothing is cheaper" in finding([fp32, bad])


def test_the_command_prints_a_table_with_the_price_and_its_date(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path)
    shelve(store, "cpu-fp32", profile(0.98, 0.002, 0.001), kind="reference")
    shelve(store, "cpu-int8", profile(0.975, 0.001, 0.00025))
    shelve(store, "cpu-lost", artifact_format="unheard_of")
    assert main(["report", "--repository", str(tmp_path)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("digits/1: 4.0x cheaper within 1 point of the reference (c7i.large at")
    assert "usd/h for 2 vcpu since 2026-01-19" in out[0]
    assert any("cpu-int8" in line and line.endswith("4.0  *") for line in out)
    assert any("cpu-lost" in line and "not servable here" in line for line in out)


def test_the_table_head_says_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path)
    shelve(store, "cpu-fp32", kind="reference")
    signature = tmp_path / "digits/1/model.json"
    signature.write_text(signature.read_text().replace('"accuracy"', '"cosine"'))
    assert main(["report", "--repository", str(tmp_path)]) == 0
    head = capsys.readouterr().out.splitlines()[1]
    assert head.split()[:2] == ["variant", "cosine"]


def test_the_command_prints_json_with_every_promised_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shelve(Store(tmp_path), "cpu-fp32", kind="reference")
    assert main(["report", "digits", "--json", "--repository", str(tmp_path)]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert set(row) == {
        "model",
        "version",
        "variant",
        "target",
        "accuracy",
        "accuracy_low",
        "accuracy_high",
        "p50_ms",
        "p99_ms",
        "device_s_per_item",
        "usd_per_million",
        "usd_per_million_batch1",
        "kind",
        "source",
        "servable",
        "pareto",
        "metric",
        "is_settled",
        "is_own_price",
        "notes",
        "is_sound",
        "p99_ms_low",
        "usd_per_million_low",
        "host",
        "instance",
        "not_on_the_shelf",
        "sensitivity",
    }
    assert row["not_on_the_shelf"] == {} and row["sensitivity"] is None
    assert row["p99_ms_low"] is row["usd_per_million_low"] is None, "what was measured is no range"


def test_each_target_has_its_cheapest_and_says_whose_figures_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variants = make(tmp_path)
    estimated = profile(0.975, 0.0001, 0.0000005, "estimated")
    points = tuple(structs.replace(p, device_low_s=p.device_s / 4) for p in estimated.latency)
    told = structs.replace(estimated, latency=points, host="L4, by roofline")
    shelve(Store(tmp_path), "gpu-int8", told, target="gpu")
    found = rows(Store(tmp_path).variants("digits", "1"), BOOK, DAY, lambda _: True)
    best = by_target(found)
    assert [row.variant for row in best] == ["cpu-int8", "gpu-int8"], "of those within a point"
    assert best[1].usd_per_million_low == pytest.approx(best[1].usd_per_million / 4)
    assert best[1].p99_ms_low == pytest.approx(0.000125) and not best[1].pareto
    assert by_target(rows(variants[:1], BOOK, DAY, lambda _: True))
    for name, accuracy in (("fpga-a", 0.7), ("fpga-b", 0.8)):
        far = structs.replace(told, accuracy=accuracy)
        shelve(Store(tmp_path), name, far, target="fpga")
    found = rows(Store(tmp_path).variants("digits", "1"), BOOK, DAY, lambda _: True)
    (closest,) = [row for row in by_target(found) if row.target == "fpga"]
    assert closest.variant == "fpga-b" and not closest.is_own_price
    prices = tmp_path.parent / f"{tmp_path.name}.yaml"
    line = (
        "  - {{instance: {0}, device: {0}, devices: 1, usd_per_hour: 9, "
        "from: 2020-01-01, source: x}}\n"
    )
    lines = "".join(map(line.format, ("cpu", "gpu", "fpga")))
    prices.write_text(f"targets: {{cpu: cpu, gpu: gpu, fpga: fpga}}\nprices:\n{lines}")
    assert main(["report", "--repository", str(tmp_path), "--prices", str(prices)]) == 0
    text = capsys.readouterr().out
    assert "by target, the cheapest within 1 point of the reference:" in text
    assert "estimated, L4, by roofline" in text
    assert "fpga, standing in  the closest it has, 18.0 points below; estimated, L4" in text
    assert "standing in: nobody rents out such hardware" in text
    assert "the gateway routes to neither unless allow_estimated is set" in text


def test_an_unknown_model_and_an_empty_repository_say_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "--repository", str(tmp_path)]) == 0
    assert "is empty: farebox compile digits" in capsys.readouterr().out
    assert main(["report", "--json", "--repository", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out) == []
    shelve(Store(tmp_path), "cpu-fp32")
    assert main(["report", "nope", "--repository", str(tmp_path)]) == 2
    assert "there is no model 'nope'" in capsys.readouterr().err


def test_a_target_without_a_price_says_how_to_add_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shelve(Store(tmp_path), "dsp-int4", target="dsp")
    assert main(["report", "--repository", str(tmp_path)]) == 2
    assert "add 'dsp: INSTANCE' under 'targets'" in capsys.readouterr().err


def test_what_is_not_on_the_shelf_is_listed_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, command = Store(tmp_path), ["report", "--repository", str(tmp_path)]
    shelve(store, "cpu-fp32", kind="reference")
    main(command)
    assert "not on the shelf" not in capsys.readouterr().out
    note_skip(store, "digits", "1", "cpu-int4", Skip("dearer than cpu-int8: 1.8x at 1", "abc"))
    note_skip(store, "digits", "1", "cpu-bf16", Skip("no instructions"))
    note_skip(store, "digits", "1", "cpu-w8-bf16", Skip("no instructions"))
    assert main(command) == 0
    assert (
        "\nnot on the shelf:\n  cpu-bf16, cpu-w8-bf16: no instructions\n"
        "  cpu-int4: dearer than cpu-int8: 1.8x at 1\n"
    ) in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["not_on_the_shelf"] == {
        "cpu-bf16": "no instructions",
        "cpu-int4": "dearer than cpu-int8: 1.8x at 1",
        "cpu-w8-bf16": "no instructions",
    }


def test_a_list_of_what_is_missing_that_is_broken_loses_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shelve(Store(tmp_path), "cpu-fp32", kind="reference")
    (tmp_path / "digits" / "1" / "skipped.json").write_text("{")
    assert main(["report", "--repository", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert "skipped.json cannot be read" in told.err and "cpu-fp32" in told.out


def test_what_was_measured_on_a_busy_host_is_marked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path)
    calm = profile(0.98, 0.002, 0.001)
    wide = structs.replace(calm.latency[0], device_low_s=0.0008, device_high_s=0.0012)
    shelve(store, "cpu-fp32", calm, kind="reference")
    assert main(["report", "--repository", str(tmp_path)]) == 0
    assert "noisy" not in capsys.readouterr().out
    shelve(store, "cpu-int8", structs.replace(calm, latency=(wide, *calm.latency[1:])))
    assert main(["report", "--repository", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.count("noisy") == 2 and "farebox measure" in out
    assert main(["report", "--json", "--repository", str(tmp_path)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["variant"]: row["is_settled"] for row in rows} == {
        "cpu-fp32": True,
        "cpu-int8": False,
    }
