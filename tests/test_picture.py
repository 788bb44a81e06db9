"""The picture is drawn, names do not cover each other, and failures are sentences."""

from __future__ import annotations

import struct
import sys
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shelf import profile, shelve

from model_repo import cost_panel, picture
from model_repo.cli import main
from model_repo.errors import BadInput, MissingExtra
from model_repo.labels import Box, place
from model_repo.report import Row
from model_repo.store import Store


def row(variant: str, accuracy: float, usd: float, p99_ms: float = 1.0, **changes: object) -> Row:
    values: dict[str, object] = dict(
        model="digits",
        version="1",
        variant=variant,
        target="cpu",
        accuracy=accuracy,
        accuracy_low=accuracy - 0.02,
        accuracy_high=min(1.0, accuracy + 0.02),
        p50_ms=p99_ms / 2,
        p99_ms=p99_ms,
        device_s_per_item=1e-6,
        usd_per_million=usd,
        usd_per_million_batch1=usd,
        kind="variant",
        source="measured",
        servable=True,
        pareto=True,
    )
    return Row(**{**values, **changes})  # type: ignore[arg-type]  # each key is checked by Row


TABLE = [
    row("cpu-fp32", 0.98, 1.0, kind="reference"),
    row("gpu-fp16", 0.97, 0.1, target="gpu"),
    row("fpga-int8", 0.9, 0.01, target="fpga", pareto=False),
]


def size_of(path: Path) -> tuple[int, int]:
    raw = path.read_bytes()
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", raw[16:24])
    return width, height


@pytest.mark.parametrize(
    ("panels", "size"), [(1, (1200, 800)), (2, (1800, 600)), (3, (1800, 1200))]
)
def test_one_panel_for_each_model(panels: int, size: tuple[int, int], tmp_path: Path) -> None:
    picture.draw([TABLE] * panels, "c7i.large at 0.09 usd/h", tmp_path / "p.png")
    assert size_of(tmp_path / "p.png") == size


@pytest.mark.parametrize(
    "table",
    [
        [row("alone", 1.0, 0.5)],
        [row("a", 0.9, 0.5), row("b", 0.9, 0.5), row("c", 0.9, 0.5)],
        [row("a", 0.9, 1e-6), row("b", 0.95, 1e6)],
        [row("none", 0.9, 0.5, pareto=False)],
        [row("x" * 60, 0.9, 0.5), row("cosine", -0.3, 0.1, p99_ms=0.0)],
    ],
)
def test_odd_tables_are_drawn_too(table: list[Row], tmp_path: Path) -> None:
    picture.draw([table], "", tmp_path / "p.png")
    assert size_of(tmp_path / "p.png") == (1200, 800)


def test_the_front_steps_up_where_more_money_buys_more_accuracy() -> None:
    table = [
        row("a", 0.9, 1),
        row("b", 0.95, 2),
        row("c", 0.93, 3),
        row("d", 0.99, 4, pareto=False),
    ]
    assert cost_panel.front(table) == [(1, 0.9), (2, 0.9), (2, 0.95)]


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    for path in (tmp_path / "absent" / "p.png", tmp_path / "p.nonsense"):
        with pytest.raises(BadInput, match="cannot be written"):
            picture.draw([TABLE], "", path)


def test_without_matplotlib_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"farebox\[report\]"):
        picture.draw([TABLE], "", tmp_path / "p.png")


def test_the_command_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shelve(Store(tmp_path), "cpu-fp32", profile(0.98), kind="reference")
    words = ["report", "--repository", str(tmp_path), "--png", str(tmp_path / "p.png")]
    assert main(words) == 0
    assert size_of(tmp_path / "p.png") == (1200, 800)
    assert "drawn:" in capsys.readouterr().err


def test_the_picture_is_where_it_is_said_to_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository, bare = tmp_path / "repo", tmp_path / "noext"
    words = ["report", "--repository", str(repository), "--png"]
    assert main([*words, str(bare)]) == 0
    assert "nothing was drawn" in capsys.readouterr().err and not bare.exists()
    shelve(Store(repository), "cpu-fp32", profile(0.98), kind="reference")
    assert main([*words, str(bare)]) == 0
    assert capsys.readouterr().err == f"drawn: {bare}\n"
    assert size_of(bare) == (1200, 800)
    assert {path.name for path in tmp_path.iterdir()} == {"repo", "noext"}
    for wrong, reason in ((tmp_path, "it is a folder"), (tmp_path / "a/b.png", "No such file")):
        assert main([*words, str(wrong)]) == 2
        err = capsys.readouterr().err
        assert reason in err and err.count("\n") == 1
    assert not tmp_path.with_suffix(".png").exists()


def test_the_axis_says_what_was_measured(tmp_path: Path) -> None:
    table = [row("a", 0.9, 0.5, metric="agreement"), row("b", 0.95, 1, metric="agreement")]
    picture.draw([table], "", tmp_path / "p.svg")
    drawn = (tmp_path / "p.svg").read_text()
    assert "agreement, with its 95 % interval" in drawn and "accuracy" not in drawn


def test_what_is_noisy_is_drawn_dashed_and_explained_if_it_is_there(tmp_path: Path) -> None:
    noisy = [*TABLE, row("gpu-int8", 0.96, 0.05, target="gpu", is_settled=False)]
    for table, is_said in ((TABLE, False), (noisy, True)):
        picture.draw([table], "", tmp_path / "p.svg")
        assert ("dashed: noisy" in (tmp_path / "p.svg").read_text()) is is_said


@pytest.mark.parametrize("costs", [(0.12, 0.3), (1.1, 1.3), (0.2, 1.9)])
def test_costs_under_a_decade_apart_can_be_read_off_the_axis(costs: tuple[float, float]) -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    cost_panel.panel(axes, [row("a", 0.9, costs[0]), row("b", 0.95, costs[1])], 12)
    low, high = axes.get_xlim()
    assert sum(low <= tick <= high for tick in axes.get_xticks()) >= 3


places = st.tuples(st.floats(100, 1000), st.floats(100, 700))


@settings(max_examples=60)
@given(st.lists(places, min_size=1, max_size=8))
def test_labels_in_open_space_cover_no_mark_and_no_label(marks: list[tuple[float, float]]) -> None:
    taken = [Box(x - 8, y - 8, x + 8, y + 8) for x, y in marks]
    spots: list[Box] = []
    for x, y in marks:
        spots.append(place(x, y, 8, (90, 24), [*taken, *spots]))
    for one, two in combinations(spots, 2):
        assert one.overlap(two) == 0.0
    assert all(spot.overlap(mark) == 0.0 for spot in spots for mark in taken)


def test_of_many_marks_only_those_that_matter_bear_names() -> None:
    few = [row(f"v{i}", 0.9, 1.0, pareto=False) for i in range(17)]
    reference = row("ref", 0.9, 2.0, kind="reference", pareto=False)
    assert len(cost_panel.named([*few, reference])) == 18
    chip = row("chip", 0.9, 0.5, target="tpu", source="estimated", pareto=False)
    best = row("best", 0.9, 0.1)
    bears = [each.variant for each in cost_panel.named([*few, reference, chip, best])]
    assert bears == ["ref", "chip", "best"]


def test_ranges_of_estimates_do_not_stretch_the_axis(tmp_path: Path) -> None:
    wide = row("tpu-fp32", 0.97, 0.1, target="tpu", source="estimated", usd_per_million_low=1e-9)
    assert cost_panel._span([*TABLE, wide])[0] > 1e-3
    picture.draw([[*TABLE, wide]], "prices", tmp_path / "a.png")
    assert size_of(tmp_path / "a.png") == (1200, 800)
