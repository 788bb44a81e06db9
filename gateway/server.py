"""Puts the parts together, serves until told to stop, and reloads without dropping a request."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import version

import grpc

from gateway import loader, log
from gateway.backends.inprocess import InProcess
from gateway.batcher import Batcher
from gateway.bookkeeping import Bookkeeping
from gateway.core.admission import Admission
from gateway.core.catalog import Identity
from gateway.core.scheduler import Scheduler
from gateway.cpus import available
from gateway.dataplane import DataPlane
from gateway.fronts import Fronts
from gateway.metrics import Page
from gateway.settings import Settings
from model_repo.prices import PriceBook
from model_repo.records import VariantKey
from model_repo.store import Store


class Server:
    """One gateway process."""

    def __init__(self, settings: Settings, store: Store, prices: PriceBook) -> None:
        self.settings, self._store, self._prices = settings, store, prices
        self._cores = settings.cores or available()
        self._bookkeeping = Bookkeeping(prices, self._cores)
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()
        self._fingerprint = ""

    async def run(self, on_ready: Callable[[Server], None]) -> None:
        """Serve until SIGTERM or SIGINT, then finish what is in flight.

        Raises BadInput when a port is taken.
        """
        admission = Admission(self.settings.max_in_flight)
        scheduler = Scheduler(
            self._bookkeeping.books, admission, self.settings.margin_s, self.settings.report_only
        )
        backend = InProcess(self._cores)
        batcher = Batcher(scheduler, backend, self.settings.inline_s)
        self.plane = DataPlane(self.settings, scheduler, batcher)
        page = Page(self.plane, version("farebox"), self._bookkeeping.instances)
        self.fronts = Fronts(self.settings, self.plane, page.scrape)
        self._watch_signals()
        await self._load()
        await self.fronts.open()
        keeping = self._bookkeeping.keep(self._reload.set)
        watchers = [asyncio.create_task(each) for each in (self._poll(), keeping)]
        log.event("listening", self._where())
        on_ready(self)
        await self._stop.wait()
        log.event("draining", {"in_flight": admission.in_flight})
        self.plane.is_ready = False
        await asyncio.sleep(self.settings.lame_duck_s)
        await self.fronts.close()
        for watcher in watchers:
            watcher.cancel()
        backend.close()
        log.event("stopped")

    def _where(self) -> dict[str, object]:
        return {
            "http": self.fronts.http,
            "grpc": self.fronts.grpc,
            "metrics": self.fronts.metrics,
            "cores": self._cores,
            "models": [entry.model.name for entry in self.plane.catalog.entries()],
        }

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_or_quit)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)

    def _stop_or_quit(self) -> None:
        if self._stop.is_set():  # asked twice: do not wait for what is in flight
            log.event("stopped at once, as asked twice", level=logging.WARNING)
            sys.stderr.flush()
            os._exit(1)
        self._stop.set()

    async def _poll(self) -> None:
        """Reload on SIGHUP, when the repository or the day's prices changed, or after problems."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._reload.wait(), self.settings.poll_s)
            try:
                if self._reload.is_set() or await self._has_changed():
                    self._reload.clear()
                    await self._load()
            except Exception as error:  # the catalog in force goes on serving
                log.event(f"reload failed: {error!r}", level=logging.ERROR)

    async def _has_changed(self) -> bool:
        # What was broken may have been mended by a file that no fingerprint covers.
        has_problems = self.plane.loaded is not None and bool(self.plane.loaded.problems)
        return has_problems or self._fingerprint != await asyncio.to_thread(self._store.fingerprint)

    async def _load(self) -> None:
        self._fingerprint = await asyncio.to_thread(self._store.fingerprint)
        loaded = await asyncio.to_thread(
            loader.load,
            self._store,
            self._prices,
            self.settings,
            self._cores,
            self._bookkeeping.day,
            self.plane.loaded,
        )
        before = self.plane.loaded
        for problem in loaded.problems:
            if before is None or problem not in before.problems:
                log.event(problem, level=logging.WARNING)
        if loaded.capped and (before is None or loaded.capped != before.capped):
            left_out = [str(key) for key in loaded.capped]
            log.event("left out by memory_cap_bytes", {"variants": left_out}, logging.WARNING)
        if loaded.elsewhere and (before is None or loaded.elsewhere != before.elsewhere):
            log.event("not served here", _by_reason(loaded.elsewhere))
        offers = loaded.catalog.offers()
        self._bookkeeping.open({offer.device: offer.variant.profile.hardware for offer in offers})
        self.plane.adopt(loaded)
        variants = [str(offer.key) for offer in loaded.catalog.offers()]
        if before is None or _gist(loaded) != _gist(before):
            log.event("catalog loaded", {"variants": variants})


def _by_reason(elsewhere: Mapping[VariantKey, str]) -> dict[str, object]:
    reasons: dict[str, list[str]] = {}
    for key, reason in elsewhere.items():
        reasons.setdefault(reason, []).append(str(key))
    return {"variants": reasons}


def _gist(loaded: loader.Loaded) -> tuple[set[Identity], list[str]]:
    """What of a catalog is worth a line in the log when it differs."""
    return {offer.identity for offer in loaded.catalog.offers()}, loaded.problems


def serve(server_of: Callable[[], Server], on_ready: Callable[[Server], None]) -> None:
    """Run a server on the fastest loop there is."""
    import uvloop

    # Worker threads hold the interpreter lock only between runs; waiting the default 5 ms for it
    # would be most of a small model's latency.
    sys.setswitchinterval(1e-4)

    async def main() -> None:
        grpc.aio.init_grpc_aio()
        await server_of().run(on_ready)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
