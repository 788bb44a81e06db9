"""Puts the parts together, serves until told to stop, and reloads without dropping a request."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from importlib.metadata import version

import grpc

from gateway import log
from gateway.backends.inprocess import InProcess
from gateway.batcher import Batcher
from gateway.bookkeeping import Bookkeeping
from gateway.control import Control
from gateway.core.admission import Admission
from gateway.core.scheduler import Scheduler
from gateway.cpus import available
from gateway.dataplane import DataPlane
from gateway.fronts import Fronts
from gateway.metrics import Page
from gateway.settings import Settings
from gateway.shelf import Shelf
from model_repo.prices import PriceBook
from model_repo.store import Store


class Server:
    """One gateway process."""

    def __init__(self, settings: Settings, store: Store, prices: PriceBook) -> None:
        self.settings, self._store, self._prices = settings, store, prices
        self._cores = settings.cores or available()
        self._bookkeeping = Bookkeeping(prices, self._cores)
        self._stop = asyncio.Event()

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
        shelf = Shelf(self._store, self._prices, self.plane, self._cores, self._bookkeeping)
        self.fronts = Fronts(self.settings, self.plane, Control(self.plane, shelf), page.scrape)
        self._watch_signals(shelf.reload.set)
        await shelf.read()
        await self.fronts.open()
        keeping = self._bookkeeping.keep(shelf.reload.set)
        watchers = [asyncio.create_task(each) for each in (shelf.watch(), keeping)]
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
        self.plane.tracer.close()
        log.event("stopped")

    def _where(self) -> dict[str, object]:
        return {
            "http": self.fronts.http,
            "grpc": self.fronts.grpc,
            "metrics": self.fronts.metrics,
            "cores": self._cores,
            "models": [entry.model.name for entry in self.plane.catalog.entries()],
        }

    def _watch_signals(self, reload: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_or_quit)
        loop.add_signal_handler(signal.SIGHUP, reload)

    def _stop_or_quit(self) -> None:
        if self._stop.is_set():  # asked twice: do not wait for what is in flight
            log.event("stopped at once, as asked twice", level=logging.WARNING)
            sys.stderr.flush()
            os._exit(1)
        self._stop.set()


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
