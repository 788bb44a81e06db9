"""A digest moves with whatever goes into a step, and with nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compilers import digests
from compilers.chain import PASSES
from compilers.digests import code_sha256, digest, versions, versions_of_source
from compilers.plan import TARGETS
from model_repo import plugins
from model_repo.errors import BadInput, MissingExtra

HEAVY = {"torch", "torch_pruning", "onnx", "onnxruntime", "numpy", "jax", "nncf"}
DISTRIBUTIONS = {"torch_pruning": "torch-pruning"}


@given(st.dictionaries(st.text(max_size=5), st.integers(), min_size=2))
def test_the_order_of_keys_does_not_matter(options: dict[str, int]) -> None:
    assert digest(options) == digest(dict(reversed(options.items())))


def test_parts_are_not_run_together() -> None:
    assert digest("ab", "c") != digest("a", "bc")


def test_code_covers_what_is_imported_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_ROOT", tmp_path)
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "top.py").write_text("from compilers import middle\nimport numpy\n")
    (tmp_path / "middle.py").write_text("def run():\n    from compilers.low import thing\n")
    (tmp_path / "low.py").write_text("thing = 1\n")
    (tmp_path / "other.py").write_text("")

    def fresh() -> str:
        code_sha256.cache_clear()
        return code_sha256("compilers.top")

    before = fresh()
    (tmp_path / "other.py").write_text("changed = 1")
    assert fresh() == before
    (tmp_path / "low.py").write_text("thing = 2\n")
    assert fresh() != before
    code_sha256.cache_clear()


CODE = "X = {'a': 1}\n\n\ndef run(a=None):\n    return [a, 1.5]\n"


@pytest.mark.parametrize(
    ("text", "is_same"),
    [
        ("# a comment\n" + CODE, True),
        ('"""A docstring."""\n' + CODE, True),
        (CODE.replace("    return", '    """Say."""\n    return'), True),
        (CODE.replace("'a'", '"a"').replace("[a, 1.5]", "[\n  a,\n  1.5,\n]"), True),
        (CODE.replace("'a'", "'b'"), False),
        (CODE.replace("1.5", "2.5"), False),
        (CODE.replace("a=None", "a=0"), False),
        (CODE.replace("run(a=None)", "run(a, b=None)"), False),
        (CODE.replace("    return", "    'no docstring' + ''\n    return"), False),
        (CODE.replace("return [a, 1.5]", "return (a, 1.5)"), False),
    ],
)
def test_only_what_code_does_counts(
    text: str, is_same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_ROOT", tmp_path)
    found = []
    for written in (CODE, text):
        (tmp_path / "one.py").write_text(written)
        code_sha256.cache_clear()
        found.append(code_sha256("compilers.one"))
    code_sha256.cache_clear()
    assert (found[0] == found[1]) == is_same


def test_a_missing_library_names_the_extra() -> None:
    assert versions(["numpy"])["numpy"]
    with pytest.raises(MissingExtra, match=r"surely-not-there.*farebox\[compile\]"):
        versions(["surely-not-there"])


@pytest.mark.parametrize("package", [PASSES, TARGETS])
def test_each_plugin_lists_the_libraries_it_imports(package: str) -> None:
    for name in plugins.names(package):
        module = plugins.load(package, name)
        tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
        imported = {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        imported |= {
            node.module
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module
        }
        tops = {word.partition(".")[0] for word in imported} & HEAVY
        heavy = {DISTRIBUTIONS.get(top, top) for top in tops}
        formats = getattr(module, "FORMATS", {}).values()
        listed = {library for each in formats for library in each.libraries}
        assert heavy <= (listed or set(module.LIBRARIES)), f"{name} imports {heavy}"


def test_a_missing_library_of_a_source_is_named_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needed = ["numpy>=2.0", 'Nowhere-Lib>=1 ; extra == "some"', "other-lib; extra == 'else'"]
    monkeypatch.setattr(digests.metadata, "requires", lambda _: needed)
    with pytest.raises(MissingExtra, match=r"'nowhere-lib'.*pip install 'farebox\[some\]'"):
        versions_of_source(["nowhere-lib"])
    with pytest.raises(BadInput, match="run 'pip install nowhere'"):
        versions_of_source(["nowhere"])


def test_plugins_that_are_loaded_by_name_count() -> None:
    tree = ast.parse("plugins.load('compilers.quantizers', name)")
    assert "compilers.quantizers.static" in set(digests._imports(tree))
    assert set(digests._imports(ast.parse("plugins.load(PASSES, name)"))) == set()
