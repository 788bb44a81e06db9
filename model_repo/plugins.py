"""A public file in a plugin package is a plugin, and its name is its key."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from model_repo.errors import NotFound


def names(package: str) -> list[str]:
    """The plugins of `package`, sorted; none of them is imported."""
    found = importlib.import_module(package)
    return sorted(
        module.name
        for module in pkgutil.iter_modules(found.__path__)
        if not module.name.startswith("_")
    )


def load(package: str, name: str) -> ModuleType:
    """Import one plugin; raises NotFound naming those there are."""
    allowed = names(package)
    if name not in allowed:
        kind = package.rpartition(".")[2]
        raise NotFound(f"there is no {name!r} in {kind}: choose one of {', '.join(allowed)}")
    return importlib.import_module(f"{package}.{name}")
