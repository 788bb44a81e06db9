"""Names a step by everything that goes into it: options, code, and library versions."""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from model_repo import plugins
from model_repo.errors import BadInput, MissingExtra

PACKAGE, DISTRIBUTION = "compilers", "farebox"
NAME, EXTRA = re.compile(r"[^\w.-]"), re.compile(r"""extra\s*==\s*["']([^"']+)""")
_ROOT = Path(__file__).parent
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def digest(*parts: Any) -> str:
    """The SHA-256, in hex, of `parts` in one canonical JSON form."""
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()


@cache
def code_sha256(module: str) -> str:
    """The SHA-256 of a module of ours and of those of this package it imports, in turn.

    The files are parsed, not run, so that nothing heavy is imported; comments, docstrings and
    formatting do not count.
    """
    waiting, seen = [module], {}
    while waiting:
        name = waiting.pop()
        path = _path(name)
        if name not in seen and path is not None:
            seen[name], imported = _parsed(path.read_bytes())
            waiting.extend(imported)
    return digest(seen)


@cache
def _parsed(source: bytes) -> tuple[str, tuple[str, ...]]:
    """The SHA-256 of what a module does, and what of this package it imports."""
    tree = ast.parse(source)
    imported = tuple(_imports(tree))
    return hashlib.sha256(repr(_meaning(tree)).encode()).hexdigest(), imported


def _meaning(node: Any) -> Any:
    """A syntax tree as tuples, without docstrings, and alike in every version of Python."""
    if isinstance(node, list):
        return tuple(map(_meaning, node))
    if not isinstance(node, ast.AST):
        return node
    if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
        node.body = node.body[1:]
    # What is empty is left out: a newer Python adds such fields.
    parts = ((name, _meaning(part)) for name, part in ast.iter_fields(node))
    return type(node).__name__, *((name, part) for name, part in parts if part not in (None, ()))


def _path(module: str) -> Path | None:
    """The file of a module of this package; None for what is none, such as an imported name."""
    stem = _ROOT.joinpath(*module.split(".")[1:])
    # A plugin may lie outside our folder; it is loaded by the time its digest is asked for.
    loaded = getattr(sys.modules.get(module), "__file__", None)
    places = [stem.with_suffix(".py"), stem / "__init__.py", *([Path(loaded)] if loaded else [])]
    return next((place for place in places if place.is_file()), None)


def imports_of(source: bytes) -> tuple[str, ...]:
    """What of this package a module imports; nothing if it is no Python, which running it tells."""
    try:
        return _parsed(source)[1]
    except (SyntaxError, ValueError):
        return ()


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "plugins.load":
            found = _plugins(node.args[0])
        else:
            continue
        yield from (name for name in found if name.startswith(f"{PACKAGE}."))


def _plugins(package: ast.expr) -> list[str]:
    """What a call may load by name from a package of ours that it names in plain sight."""
    name = package.value if isinstance(package, ast.Constant) else None
    if not isinstance(name, str) or not name.startswith(f"{PACKAGE}."):
        return []
    return [f"{name}.{plugin}" for plugin in plugins.names(name)]


def versions(libraries: Sequence[str]) -> dict[str, str]:
    """The installed version of each library, none of them imported; raises MissingExtra."""
    return {name: _version(name) for name in sorted(libraries)}


def versions_of_source(libraries: Sequence[str]) -> dict[str, str]:
    """The installed versions of what a recipe's source needs; raises BadInput."""
    for library in libraries:
        try:
            metadata.version(library)
        except (metadata.PackageNotFoundError, ValueError) as error:
            extra = _extra_with(library)
            if extra:
                raise MissingExtra("compiling this recipe", library, extra) from error
            raise BadInput(
                f"source, libraries names {library!r}, which is not installed: run "
                f"'pip install {library}', or correct the name to that of a package"
            ) from error
    return versions(libraries)


def _extra_with(library: str) -> str | None:
    """The extra of ours that brings a library."""
    try:
        needed = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return None
    for line in needed:
        requirement, _, marker = line.partition(";")
        extra = EXTRA.search(marker)
        if extra and NAME.split(requirement.strip(), maxsplit=1)[0].lower() == library.lower():
            return extra[1]
    return None


@cache
def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError as error:
        raise MissingExtra("compiling", library, _extra_with(library) or "compile") from error
