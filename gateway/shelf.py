"""The shelf as this process serves it: read, watched for changes, loaded and unloaded on demand."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from gateway import loader, log
from gateway.bookkeeping import Bookkeeping
from gateway.core.catalog import Identity
from gateway.dataplane import DataPlane
from model_repo.errors import BadInput
from model_repo.prices import PriceBook
from model_repo.records import VariantKey
from model_repo.store import Store


class Shelf:
    """Every reload replaces the data plane's catalog whole; no request is dropped for it.

    reload: set it to have the shelf read again soon.
    """

    def __init__(
        self,
        store: Store,
        prices: PriceBook,
        plane: DataPlane,
        cores: int,
        bookkeeping: Bookkeeping,
    ) -> None:
        self._store, self._prices, self._plane = store, prices, plane
        self._cores, self._bookkeeping = cores, bookkeeping
        self.reload = asyncio.Event()
        self._reading = asyncio.Lock()
        self._fingerprint = ""
        self._unloaded: set[str] = set()
        self._changing: dict[str, str] = {}

    async def watch(self) -> None:
        """Read again when asked, when the shelf or the day's prices changed, or after problems."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.reload.wait(), self._plane.settings.poll_s)
            try:
                if self.reload.is_set() or await self._has_changed():
                    self.reload.clear()
                    await self.read()
            except Exception as error:  # the catalog in force goes on serving
                log.event(f"reload failed: {error!r}", level=logging.ERROR)

    async def _has_changed(self) -> bool:
        # What was broken may have been mended by a file that no fingerprint covers.
        has_problems = self._plane.loaded is not None and bool(self._plane.loaded.problems)
        return has_problems or self._fingerprint != await asyncio.to_thread(self._store.fingerprint)

    async def read(self) -> None:
        """Serve what is on the shelf now, but for what was unloaded."""
        async with self._reading:
            self._fingerprint = await asyncio.to_thread(self._store.fingerprint)
            before = self._plane.loaded
            loaded = await asyncio.to_thread(
                loader.load,
                self._store,
                self._prices,
                self._plane.settings,
                self._cores,
                self._bookkeeping.day,
                before,
                frozenset(self._unloaded),
            )
            _tell(loaded, before)
            offers = loaded.catalog.offers()
            self._bookkeeping.open(
                {offer.device: offer.variant.profile.hardware for offer in offers}
            )
            self._plane.adopt(loaded)
            # A server whose models were all unloaded waits for the next to be loaded.
            self._plane.is_ready |= bool(self._unloaded)

    async def index(self, is_ready_only: bool = False) -> list[dict[str, str]]:
        """Every model version on the shelf with its state, and why if it is not served."""
        found = []
        for name, version in await asyncio.to_thread(self._store.versions):
            is_served = version in self._plane.catalog.versions(name)
            state = self._changing.get(name, "READY" if is_served else "UNAVAILABLE")
            if is_ready_only and not is_served:
                continue
            entry = {"name": name, "version": version, "state": state}
            found.append(entry if is_served else entry | {"reason": self._reason(name, version)})
        return found

    def _reason(self, name: str, version: str) -> str:
        if name in self._unloaded:
            return "unloaded"
        problems = self._plane.loaded.problems if self._plane.loaded else []
        return "; ".join(p for p in problems if f"{name}/{version}" in p) or "not read yet"

    async def load(self, name: str) -> None:
        """Serve a model, unloaded or not; raises BadInput saying why that failed."""
        if name not in await self._names():
            raise BadInput(
                f"failed to load {name!r}, failed to poll from model repository: "
                "no such model is on the shelf"
            )
        self._unloaded.discard(name)
        await self._change(name, "LOADING")
        if not self._plane.catalog.versions(name):
            problems = self._plane.loaded.problems if self._plane.loaded else []
            reason = "; ".join(p for p in problems if f"{name}/" in p)
            raise BadInput(f"failed to load {name!r}: {reason or 'none of it can run here'}")

    async def unload(self, name: str) -> None:
        """Serve a model no more, until it is loaded; requests that it has are still answered.

        One that is not there is no error, as in Triton.
        """
        if name in await self._names():
            self._unloaded.add(name)
            await self._change(name, "UNLOADING")

    async def _names(self) -> set[str]:
        return {name for name, _ in await asyncio.to_thread(self._store.versions)}

    async def _change(self, name: str, state: str) -> None:
        self._changing[name] = state
        try:
            await self.read()
        finally:
            self._changing.pop(name, None)


def _tell(loaded: loader.Loaded, before: loader.Loaded | None) -> None:
    """Log what a reload brought that was not so before."""
    for problem in loaded.problems:
        if before is None or problem not in before.problems:
            log.event(problem, level=logging.WARNING)
    if loaded.capped and (before is None or loaded.capped != before.capped):
        left_out = [str(key) for key in loaded.capped]
        log.event("left out by memory_cap_bytes", {"variants": left_out}, logging.WARNING)
    if loaded.elsewhere and (before is None or loaded.elsewhere != before.elsewhere):
        log.event("not served here", _by_reason(loaded.elsewhere))
    if before is None or _gist(loaded) != _gist(before):
        variants = [str(offer.key) for offer in loaded.catalog.offers()]
        log.event("catalog loaded", {"variants": variants})


def _by_reason(elsewhere: Mapping[VariantKey, str]) -> dict[str, Any]:
    reasons: dict[str, list[str]] = {}
    for key, reason in elsewhere.items():
        reasons.setdefault(reason, []).append(str(key))
    return {"variants": reasons}


def _gist(loaded: loader.Loaded) -> tuple[set[Identity], list[str]]:
    """What of a catalog is worth a line in the log when it differs."""
    return {offer.identity for offer in loaded.catalog.offers()}, loaded.problems
