"""The sheet in numbers: file and function lengths, first lines, and no word we do not use."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("gateway", "model_repo", "compilers", "policies")
FILES = sorted(
    path
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if "models" not in path.relative_to(ROOT).parts[1:2]
)
LONGEST_FILE, MEDIAN_FILE, FUNCTION_P90 = 250, 100, 25
UNUSED_NAMES = ("flavor", "engine", "manager", "handler", "helper", "util", "base")


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_no_file_is_longer_than_the_sheet_allows() -> None:
    assert {str(p.relative_to(ROOT)): lines(p) for p in FILES if lines(p) > LONGEST_FILE} == {}


def test_the_median_file_is_short() -> None:
    assert statistics.median(lines(path) for path in FILES) <= MEDIAN_FILE


def test_functions_are_short() -> None:
    lengths = [
        node.end_lineno - node.lineno + 1
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
    ]
    assert statistics.quantiles(lengths, n=10)[-1] <= FUNCTION_P90


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_first_line_says_what_the_file_does(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith('"""') and len(first) > 20, first


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_module_has_a_name_that_says_nothing(path: Path) -> None:
    assert path.stem not in UNUSED_NAMES and not path.stem.endswith(("_utils", "_helpers"))
