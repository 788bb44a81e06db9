"""One path for every protocol: check, route, queue, wait, answer."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import time

from gateway.batcher import Batcher, Served
from gateway.cascading import Waiting
from gateway.core import explain, signature
from gateway.core.batching import Pending
from gateway.core.catalog import Catalog, Entry
from gateway.core.classification import classify
from gateway.core.replica import Replica
from gateway.core.request import (
    DEFAULT_TENANT,
    InferRequest,
    InferResponse,
    OutputAsk,
    Parameter,
)
from gateway.core.scheduler import Scheduler
from gateway.errors import outcome
from gateway.loader import Loaded, load_policy
from gateway.settings import Settings
from gateway.shared_memory import Regions
from gateway.tracing import Tracer
from model_repo.errors import Expired, NotFound
from model_repo.records import Model, VariantKey
from model_repo.tensors import Array


class DataPlane:
    """What HTTP and gRPC both call; `catalog` is replaced whole on reload."""

    def __init__(self, settings: Settings, scheduler: Scheduler, batcher: Batcher) -> None:
        self.settings = settings
        self.scheduler = scheduler
        self.regions = Regions()
        self.tracer = Tracer(settings.trace_file)
        self.catalog = Catalog([])
        self.loaded: Loaded | None = None
        self.is_ready = False
        self.is_draining = False
        self._batcher = batcher
        self._sequence = itertools.count()
        self._loop = asyncio.get_running_loop()
        # Policies that need chance get a number with each request; which one matters to nobody.
        self._draw = random.Random().random

    def adopt(self, loaded: Loaded) -> None:
        """Route over a new catalog; requests in flight finish on the one they began with."""
        settings = self.settings
        policies = {
            entry.model.name: load_policy(
                settings.policy_of(entry.model.name),
                settings.report_only
                or settings.on_infeasible_of(entry.model.name) == "best_effort",
            )
            for entry in loaded.catalog.entries()
        }
        self._batcher.adopt(loaded.sessions)
        self.scheduler.adopt(loaded.catalog.entries(), loaded.replicas, policies)
        self.catalog, self.loaded = loaded.catalog, loaded
        self.is_ready = bool(loaded.catalog.entries())

    def replicas(self) -> list[tuple[Replica, str]]:
        """Every running copy with the target it runs."""
        replicas = self.loaded.replicas if self.loaded else {}
        return [
            (replica, offer.variant.target)
            for offer in self.catalog.offers()
            for replica in replicas[offer.key]
        ]

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer one request; raises the FareboxError that says why not."""
        try:
            return await self._infer(request)
        except BaseException as error:
            is_gone = isinstance(error, asyncio.CancelledError)
            self._count(request, "cancelled" if is_gone else outcome(error))
            raise

    async def _infer(self, request: InferRequest) -> InferResponse:
        entry = self.catalog.find(request.model, request.version)
        items = signature.rows(entry.model, request)
        if signature.is_empty(request, items):
            self._count(request, outcome(None))  # no variant ran, so none is named
            nothing: dict[str, Parameter] = {"cost_usd": 0.0, "slo_met": True}
            return _response(entry, request, signature.empty_outputs(entry.model, items), nothing)
        pending = self._pending(entry, request, items)
        now = time.monotonic()
        route = self.scheduler.arrive(entry, pending, request.variant, now, self._draw())
        self._batcher.wake()
        served = await self._wait(pending, request)
        facts = served.facts
        is_met = self._observe(request, served)
        if self.tracer.is_on and self.tracer.takes(entry.model.name):
            self._trace(entry, request, now, served)
        parameters: dict[str, Parameter] = {
            "variant": facts.key.variant,
            "cost_usd": facts.cost_usd,
            "accuracy_low": facts.accuracy_low,
            "forecast_latency_ms": facts.forecast_latency_s * 1e3,
            "slo_met": is_met,
        }
        if facts.source != "measured":
            parameters["profile_source"] = facts.source
        if facts.runs_on:
            parameters["runs_on"] = facts.runs_on
            parameters["target_cost_usd"] = facts.target_cost_usd
        if facts.escalated is not None:
            parameters["escalated_rows"] = facts.escalated
        if self.settings.report_only:
            parameters["routed_variant"] = route.candidate.key.variant
        if request.explain:
            parameters["explain"] = explain.text(route, request.slo, entry.offers)
        return _response(entry, request, served.outputs, parameters)

    def _pending(self, entry: Entry, request: InferRequest, items: int) -> Pending:
        arrived, deadline = request.received_s, request.deadline_s
        must_meet = not request.variant and not self.settings.report_only
        if (
            must_meet
            and request.slo.latency_s is not None
            and (self.settings.on_infeasible_of(entry.model.name) == "reject")
        ):
            deadline = min(deadline, arrived + request.slo.latency_s)
        return Pending(
            next(self._sequence),
            items,
            signature.merge_key(entry.model, request),
            request.slo,
            arrived,
            deadline,
            min(deadline, arrived + self.settings.patience_s),
            request.tenant,
            Waiting(self._loop.create_future(), request.inputs),
        )

    async def _wait(self, pending: Pending, request: InferRequest) -> Served:
        future: asyncio.Future[Served] = pending.payload.future
        timer = None
        if pending.deadline_s != math.inf:
            # Monotonic seconds are the loop's own clock only by convention, so go by the rest.
            rest = pending.deadline_s - time.monotonic()
            timer = self._loop.call_later(max(rest, 0.0), self._expire, pending)
        try:
            return await future
        except asyncio.CancelledError:
            self.scheduler.cancel(pending)
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _expire(self, pending: Pending) -> None:
        future: asyncio.Future[Served] = pending.payload.future
        if not future.done():
            self.scheduler.cancel(pending, is_late=True)
            allowed = (pending.deadline_s - pending.arrived_s) * 1e3
            future.set_exception(Expired(f"no answer within the {allowed:.3f} ms allowed"))

    def _observe(self, request: InferRequest, served: Served) -> bool:
        """Count an answer; returns whether it met its SLO, judged now that it is there."""
        took = time.monotonic() - request.received_s
        facts, scheduler = served.facts, self.scheduler
        scheduler.overhead.observe(took - facts.queue_s - served.wall_s)
        scheduler.tally.served(
            facts.key,
            facts.target,
            request.tenant,
            facts.queue_s,
            took,
            facts.forecast_latency_s,
            round(time.time() * 1e3),
        )
        return scheduler.tally.met(request.slo, took, facts.accuracy_low, facts.cost_usd)

    def _trace(self, entry: Entry, request: InferRequest, queued_s: float, served: Served) -> None:
        computed_s = request.received_s + served.facts.queue_s
        stamps = {
            "REQUEST_START": request.received_s,
            "QUEUE_START": queued_s,
            "COMPUTE_START": computed_s,
            "COMPUTE_END": computed_s + served.wall_s,
            "REQUEST_END": time.monotonic(),
        }
        self.tracer.write(entry.model.name, entry.model.version, request.id, stamps)

    def count_unread(self, error: BaseException) -> None:
        """A request was refused before it could be read, so that nothing of it is known."""
        self.scheduler.tally.requests["", "", "", "", DEFAULT_TENANT, outcome(error)] += 1

    def _count(self, request: InferRequest, word: str) -> None:
        # An unknown model's name is the caller's own invention: as a label it would be unbounded.
        model, version = "", ""
        try:
            found = self.catalog.find(request.model, request.version).model
            model, version = found.name, found.version
        except NotFound:
            pass
        else:
            if word != outcome(None):
                took_ns = round((time.monotonic() - request.received_s) * 1e9)
                none = VariantKey(model, version, "")
                self.scheduler.tally.statistics.of(none).add("fail", took_ns)
        self.scheduler.tally.requests[model, version, "", "", request.tenant, word] += 1


def _response(
    entry: Entry, request: InferRequest, outputs: dict[str, Array], parameters: dict[str, Parameter]
) -> InferResponse:
    if request.outputs:
        outputs = {ask.name: _asked(entry.model, ask, outputs[ask.name]) for ask in request.outputs}
    return InferResponse(request, entry.model.name, entry.model.version, outputs, parameters)


def _asked(model: Model, ask: OutputAsk, array: Array) -> Array:
    if not ask.classes:
        return array
    labels = model.labels if ask.name == model.scored_output else ()
    return classify(array, ask.classes, labels, model.batches, ask.name)
