"""Records, queues and repositories of null-runtime variants, built small for the tests."""

from __future__ import annotations

import itertools
import json
import math
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from gateway import loader
from gateway.backends.inprocess import InProcess
from gateway.batcher import Batcher
from gateway.core.admission import Admission
from gateway.core.batching import Lane, Pending
from gateway.core.books import Books
from gateway.core.catalog import Entry, Offer
from gateway.core.curve import curve
from gateway.core.ledger import Ledger
from gateway.core.replica import Replica
from gateway.core.request import InferRequest
from gateway.core.routing import Policy
from gateway.core.scheduler import Scheduler
from gateway.dataplane import DataPlane
from gateway.settings import Settings
from model_repo.prices import PriceBook, parse_price_book
from model_repo.records import (
    NO_SLO,
    SLO,
    Artifact,
    Candidate,
    Cascade,
    LatencyPoint,
    Model,
    Profile,
    TensorSpec,
    Variant,
    VariantKey,
)
from model_repo.store import Store, describe
from model_repo.tensors import Array
from policies.routing import cheapest

SIZES = (1, 2, 4, 8)
USD_PER_DEVICE_S = 0.001
PRICES = """
targets: {cpu: box, tpu: chip}
prices:
  - {instance: box, device: vcpu, devices: 2, usd_per_hour: 7.2, from: 2020-01-01, source: tests}
  - {instance: chip, device: tpu, devices: 1, usd_per_hour: 36, from: 2020-01-01, source: tests}
"""
TOY = Model(
    "toy", "1", (TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", (-1, 2)),), True
)
_numbers = itertools.count()


def prices() -> PriceBook:
    """A box of two CPUs, 0.001 usd for a device-second, and a chip, 0.01 usd for one."""
    return parse_price_book(PRICES, "prices")


def point(size: int, service_s: float, device_s: float | None = None) -> LatencyPoint:
    """A batch that always takes as long."""
    busy_s = service_s if device_s is None else device_s
    return LatencyPoint(size, service_s, service_s, service_s, busy_s, 100)


def profile(alone_s: float, low: float = 0.9, sizes: Sequence[int] = SIZES, **more: Any) -> Profile:
    """Half of a lone request's time is fixed, the other half grows with the rows."""
    points = tuple(point(size, alone_s * (1 + size) / 2) for size in sizes)
    known: dict[str, Any] = {
        "accuracy": low, "accuracy_low": low, "accuracy_high": 1.0, "accuracy_samples": 100,
        "latency": points, "load_s": 0.1, "memory_bytes": 1000, "host": "h", "source": "measured",
        "measured_at": datetime(2026, 1, 1, tzinfo=UTC), **more,
    }  # fmt: skip
    return Profile(**known)


def variant(
    name: str, alone_s: float = 0.01, low: float = 0.9, model: Model = TOY, **more: Any
) -> Variant:
    """A null variant; the one named `ref` is the reference."""
    return Variant(
        VariantKey(model.name, model.version, name),
        "reference" if name == "ref" else "variant",
        "cpu",
        Artifact("null.json", "null", f"sha-{name}", 2),
        profile(alone_s, low, **more),
    )


def offer(
    made: Variant,
    is_routable: bool = True,
    usd_per_device_s: float = 0.001,
    stages: Cascade | None = None,
) -> Offer:
    """What the loader would make of a variant."""
    batches = len(made.profile.latency) > 1
    known = curve(made.profile, 0.99, batches)
    return Offer(made, known, usd_per_device_s, is_routable, cascade=stages)


def entry(*offers: Offer, model: Model = TOY) -> Entry:
    """One model version; the first offer is the reference."""
    return Entry(model, offers, offers[0])


def replica(key: VariantKey, slots: int = 8) -> Replica:
    """A copy that is ready."""
    return Replica(f"{key}@x", key, "in-process", "ready", 0, slots)


def lane(made: Variant | None = None, slots: int = 8) -> Lane:
    """An empty queue."""
    made = made or variant("ref")
    return Lane(offer(made), [replica(made.key, slots)])


def pending(items: int = 1, deadline_s: float = math.inf, **more: Any) -> Pending:
    """A request that arrived at 0 and may share a batch with any other."""
    known: dict[str, Any] = {
        "sequence": next(_numbers), "items": items, "merge_key": (4,), "slo": NO_SLO,
        "arrived_s": 0.0, "deadline_s": deadline_s, "due_s": min(deadline_s, 1e6),
        "tenant": "default", **more,
    }  # fmt: skip
    return Pending(**known)


def candidate(
    name: str, low: float = 0.9, latency_s: float = 0.01, cost_usd: float = 1e-6
) -> Candidate:
    """A candidate with nothing queued."""
    return Candidate(VariantKey("toy", "1", name), low, latency_s, cost_usd, 0, True, 1)


def slo(
    latency_s: float | None = None, accuracy: float | None = None, usd: float | None = None
) -> SLO:
    """The bounds of a request."""
    return SLO(latency_s, accuracy, usd)


def scheduler(
    *entries: Entry,
    devices: int = 2,
    max_in_flight: int = 1000,
    report_only: bool = False,
    is_best_effort: bool = False,
    slots: int = 8,
) -> Scheduler:
    """A scheduler over the default policy, opened at 0."""
    ledger = Ledger(devices, 0, USD_PER_DEVICE_S)
    made = Scheduler(Books(ledger), Admission(max_in_flight), 0.0, report_only)
    adopt(made, *entries, is_best_effort=is_best_effort, slots=slots)
    return made


def adopt(made: Scheduler, *entries: Entry, is_best_effort: bool = False, slots: int = 8) -> None:
    """Replace a scheduler's catalog."""
    keys = [each.key for found in entries for each in found.offers]
    policy = Policy("cheapest", cheapest.choose, is_best_effort)
    made.adopt(
        entries,
        {key: [replica(key, slots)] for key in keys},
        {found.model.name: policy for found in entries},
    )


def shelve(
    root: Path,
    *variants: Variant,
    model: Model = TOY,
    times: dict[str, dict[str, float]] | None = None,
) -> Store:
    """A repository of null variants; `times` are what their artifacts say, by variant."""
    store = Store(root)
    artifact = root.parent / f"{root.name}-null.json"
    with store.writing():
        store.commit_model(model)
        for made in variants:
            artifact.write_text(json.dumps((times or {}).get(made.key.variant, {})))
            whole = msgspec.structs.replace(made, artifact=describe(artifact, "null"))
            store.commit(whole, artifact)
    return store


def cascade(first: str, second: str, threshold: float = 0.5, escalation: float = 0.25) -> Cascade:
    """Of variants as `variant` makes them, judged by y."""
    return Cascade(first, f"sha-{first}", second, f"sha-{second}", "y", threshold, escalation)


def shelve_cascade(
    store: Store,
    name: str,
    first: str,
    second: str,
    made: Variant | None = None,
    model: Model = TOY,
    **more: Any,
) -> Variant:
    """Add a cascade of two variants that are on the shelf; `made` has its profile."""
    file = store.root.parent / f"{name}-cascade.json"
    one, two = (
        store.variant(VariantKey(model.name, model.version, each)).artifact.sha256
        for each in (first, second)
    )
    facts = msgspec.structs.replace(
        cascade(first, second, **more), first_sha256=one, second_sha256=two
    )
    file.write_bytes(msgspec.json.encode(facts))
    whole = msgspec.structs.replace(
        made or variant(name, model=model), kind="cascade", artifact=describe(file, "cascade")
    )
    with store.writing():
        store.commit(whole, file)
    return store.variant(whole.key)


def load(store: Store, before: loader.Loaded | None = None, **settings: Any) -> loader.Loaded:
    """What the gateway would make of a repository on a set day."""
    return loader.load(store, prices(), Settings(**settings), 2, date(2026, 1, 1), before)


@asynccontextmanager
async def serving(store: Store, devices: int = 2, **settings: Any) -> AsyncIterator[DataPlane]:
    """A data plane over a repository, as the server puts it together, but without a socket."""
    known = Settings(**settings)
    ledger = Ledger(devices, 0, USD_PER_DEVICE_S)
    admission = Admission(known.max_in_flight)
    made = Scheduler(Books(ledger), admission, known.margin_s, known.report_only)
    backend = InProcess(devices)
    plane = DataPlane(known, made, Batcher(made, backend, known.inline_s))
    plane.adopt(load(store, **settings))
    try:
        yield plane
    finally:
        backend.close()


def request(rows: int = 1, **more: Any) -> InferRequest:
    """A request for the toy model, received at 0 unless said otherwise."""
    known: dict[str, Any] = {"model": "toy", "version": "", "received_s": 0.0, **more}
    return InferRequest(inputs={"x": np.zeros((rows, 4), np.float32)}, **known)


class Gate:
    """A session that waits to be let through; counts what entered."""

    def __init__(self) -> None:
        self.entered, self.opened = threading.Semaphore(0), threading.Event()
        self.rows: list[int] = []
        self.is_closed = False

    def run(
        self, inputs: Mapping[str, Array], limit_s: float | None = None
    ) -> tuple[dict[str, Array], int]:
        """Two outputs a row, once the gate is open."""
        assert not self.is_closed, "a closed session is not used again"
        rows = len(inputs["x"])
        self.rows.append(rows)
        self.entered.release()
        assert self.opened.wait(60)
        return {"y": np.zeros((rows, 2), np.float32)}, 1000 * rows

    def close(self) -> None:
        """Not used again."""
        self.is_closed = True


def gate(plane: DataPlane, name: str = "ref") -> Gate:
    """Put a gate in the place of a variant's session."""
    assert plane.loaded is not None, "the plane serves something"
    made = Gate()
    (identity,) = (key for key in plane.loaded.sessions if key.startswith(f"toy/1/{name}@"))
    plane.loaded.sessions[identity] = made
    plane.adopt(plane.loaded)
    return made
