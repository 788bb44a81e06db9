"""What clients may ask of the server besides answers, as plain documents for either protocol."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from gateway import log
from gateway.core.catalog import Entry
from gateway.dataplane import DataPlane
from gateway.shared_memory import Region
from gateway.shelf import Shelf
from model_repo.errors import BadInput, Unsupported

_IGNORED = {"unload_dependents"}  # no model depends on another here
_LEVELS = {"log_error": logging.ERROR, "log_warning": logging.WARNING, "log_info": logging.INFO}
_VERBOSE = "log_verbose_level"
_FIXED = {"log_file": "", "log_format": "default"}


class Control:
    """The model repository, statistics, shared memory, and the settings of logging and tracing."""

    def __init__(self, plane: DataPlane, shelf: Shelf) -> None:
        self._plane, self._shelf = plane, shelf

    async def index(self, repository: str, is_ready_only: bool) -> list[dict[str, str]]:
        """Every model version on the shelf, with its state."""
        _check_repository(repository)
        return await self._shelf.index(is_ready_only)

    async def load(self, repository: str, model: str, parameters: Mapping[str, object]) -> None:
        """Serve a model; raises BadInput when it cannot be, Unsupported for a config of its own."""
        _check_repository(repository)
        _check_parameters(parameters)
        await self._shelf.load(model)

    async def unload(self, repository: str, model: str, parameters: Mapping[str, object]) -> None:
        """Serve a model no more; what it has in hand is still answered."""
        _check_repository(repository)
        _check_parameters(parameters)
        await self._shelf.unload(model)

    def statistics(self, model: str, version: str, variant: str) -> dict[str, Any]:
        """{"model_stats": [...]} of one model version or all, or of one variant of it.

        Every entry has its variants' own beside it. Raises NotFound.
        """
        if not model:
            entries = self._plane.catalog.entries()
        elif version:
            entries = [self._plane.catalog.find(model, version)]
        else:
            self._plane.catalog.find(model)
            versions = self._plane.catalog.versions(model)
            entries = [self._plane.catalog.find(model, each) for each in versions]
        return {"model_stats": [self._counted(entry, variant) for entry in entries]}

    def _counted(self, entry: Entry, variant: str) -> dict[str, Any]:
        known, model = self._plane.scheduler.tally.statistics, entry.model
        if variant:
            key = entry.offer(variant).key
            return known.of(key).document(model.name, model.version)
        return known.sum(model.name, model.version).document(model.name, model.version)

    def by_variant(self, model: str, version: str) -> dict[str, Any]:
        """The same documents for each variant of a model version, by name."""
        known = self._plane.scheduler.tally.statistics
        return {
            offer.key.variant: known.of(offer.key).document(model, version)
            for offer in self._plane.catalog.find(model, version).offers
        }

    def regions(self, name: str) -> list[Region]:
        """The shared memory region of that name, or all; raises NotFound."""
        return self._plane.regions.status(name)

    def register(self, region: Region) -> None:
        """Open a shared memory region; raises BadInput."""
        self._plane.regions.register(region)

    def unregister(self, name: str) -> None:
        """Forget a shared memory region, or all for ""."""
        self._plane.regions.unregister(name)

    def log_settings(self, given: Mapping[str, object]) -> dict[str, bool | int | str]:
        """Change what is given, and return all; raises BadInput and Unsupported."""
        level = log.LOGGER.getEffectiveLevel()
        now: dict[str, bool | int | str] = {
            **_FIXED,
            **{name: level <= least for name, least in _LEVELS.items()},
            _VERBOSE: int(level <= logging.DEBUG),
        }
        if not given:
            return now
        for name, value in given.items():
            _check_log(name, value, now)
        wanted = {**now, **given}
        level = logging.CRITICAL
        for name, least in _LEVELS.items():
            if wanted[name]:
                level = least
        log.LOGGER.setLevel(logging.DEBUG if wanted[_VERBOSE] else level)
        return self.log_settings({})

    def trace_settings(self, model: str, given: Mapping[str, object]) -> dict[str, Any]:
        """Change what is given, for one model or ("") all; returns all of them.

        Raises NotFound, BadInput and Unsupported.
        """
        if model:
            self._plane.catalog.find(model)
        if given:
            self._plane.tracer.change(model, given)
        return self._plane.tracer.settings(model)


def _check_repository(name: str) -> None:
    if name:
        raise Unsupported(f"the repository {name!r} is named: there is one, without a name")


def _check_parameters(parameters: Mapping[str, object]) -> None:
    others = sorted(parameters.keys() - _IGNORED)
    if others:
        raise Unsupported(
            f"{', '.join(others)} cannot be given when a model is loaded: what it is stands on "
            "the shelf, where farebox import and farebox compile put it"
        )


def _check_log(name: str, value: object, now: Mapping[str, object]) -> None:
    if name not in now:
        raise BadInput(f"the log setting {name!r} is unknown: use one of {', '.join(now)}")
    if name in _FIXED:
        if value != now[name]:
            raise Unsupported(
                f"{name} cannot be changed by a client: lines are JSON and go to standard error"
            )
    elif name == _VERBOSE:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise BadInput(f"{name} is {value!r}: give a whole number, 0 for no more than usual")
    elif not isinstance(value, bool):
        raise BadInput(f"{name} is {value!r}: give true or false")
