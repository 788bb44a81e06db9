"""A public file in a plugin package is a plugin; an unknown name is refused with what there is."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from model_repo import cli, plugins
from model_repo.errors import NotFound

PACKAGES = (
    "policies.routing",
    "compilers.passes",
    "compilers.quantizers",
    "compilers.targets",
    "model_repo.runtimes",
)


def files(package: str) -> list[str]:
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    folder = Path(next(iter(spec.submodule_search_locations)))
    return sorted(path.stem for path in folder.glob("[!_]*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_the_plugins_are_the_files(package: str) -> None:
    assert plugins.names(package) == files(package) != []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_plugin_imports_without_its_heavy_libraries_being_asked_for(package: str) -> None:
    for name in plugins.names(package):
        assert plugins.load(package, name).__name__ == f"{package}.{name}"


def test_an_unknown_plugin_is_refused_with_those_there_are() -> None:
    with pytest.raises(NotFound, match=r"no 'chepest' in routing: choose one of .*cheapest"):
        plugins.load("policies.routing", "chepest")


def test_a_new_file_is_a_new_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from policies import routing

    (tmp_path / "dearest.py").write_text('"""The dearest."""\n')
    monkeypatch.setattr(routing, "__path__", [*routing.__path__, str(tmp_path)])
    assert "dearest" in plugins.names("policies.routing")


def test_every_command_of_both_halves_is_found() -> None:
    names = {"compile", "import", "infer", "list", "prices", "remove", "report", "serve", "verify"}
    assert names <= cli.find_commands().keys()
