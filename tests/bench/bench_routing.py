"""How long one routing decision takes with 64 variants, some of them cascades, idle and busy."""

from __future__ import annotations

import gc
import time
from datetime import UTC, datetime

import numpy as np

from gateway.core import routing
from gateway.core.batching import Lane, Pending, Stages
from gateway.core.catalog import Offer
from gateway.core.curve import curve
from gateway.core.overhead import Overhead
from gateway.core.pool import Batch, Pool
from gateway.core.replica import Replica
from gateway.core.routing import Desk, Policy
from model_repo.records import SLO, Artifact, Cascade, LatencyPoint, Profile, Variant, VariantKey
from policies.routing import cheapest

VARIANTS, CASCADES, DECISIONS, TARGET_US = 64, 8, 20_000, 50.0


def lane(index: int) -> Lane:
    """A variant a little dearer and more accurate than the one before."""
    key = VariantKey("m", "1", f"cpu-{index}")
    device = 1e-4 * (1 + index)
    points = tuple(
        LatencyPoint(
            b, device * b**0.8, device * b**0.8 * 1.2, device * b**0.8 * 1.4, device * b**0.8, 100
        )
        for b in (1, 2, 4, 8, 16, 32)
    )
    low = 0.5 + index / 200
    profile = Profile(
        low + 0.01, low, low + 0.02, 600, points, 0.1, 10**6, "bench", "measured", datetime.now(UTC)
    )
    variant = Variant(key, "variant", "cpu", Artifact("a", "null", "0", 1), profile)
    replica = Replica(key.variant, key, "", "ready", 0, 2)
    return Lane(Offer(variant, curve(profile, 0.99, True), 1e-5), [replica])


def pending(index: int, draw: np.random.Generator) -> Pending:
    slo = SLO(float(draw.uniform(0.01, 0.2)), float(draw.uniform(0.5, 0.8)))
    return Pending(index, 1, True, slo, 0.0, 1.0, 1.0, "default")


def desk(cascades: int) -> Desk:
    """64 variants, the last of them cascades of the others."""
    lanes = tuple(lane(i) for i in range(VARIANTS - cascades))
    made = []
    for i in range(cascades):
        first, second = lanes[i], lanes[-1 - i]
        known = Cascade(first.key.variant, "0", second.key.variant, "0", "y", 0.5, 0.2)
        made.append(Stages(lane(VARIANTS - cascades + i).offer, known, first, second))
    watched = [stage for each in made for stage in (each.first, each.second)]
    policy = Policy("cheapest", cheapest.choose)
    return Desk((*lanes, *watched), lanes, lanes[-1], policy, {}, tuple(made))


def run(is_busy: bool, cascades: int) -> list[float]:
    at = desk(cascades)
    lanes = at.routable
    overhead = Overhead(0.0002)
    pool, draw, times = Pool(2), np.random.default_rng(0), []
    if is_busy:
        for i in range(2):
            pool.running[i] = Batch(i, lanes[i], lanes[i].replicas[0], [], 1, 0.0, 0.002)
            lanes[i + 2].push(pending(i, draw))
            pool.busy[id(lanes[i + 2])] = lanes[i + 2]
    for index in range(DECISIONS):
        asked = pending(index, draw)
        start = time.perf_counter()
        routing.route(at, asked, pool, overhead, 0.0, 0.5)
        times.append((time.perf_counter() - start) * 1e6)
    return times


def main() -> None:
    gc.freeze()
    for name, is_busy, cascades in (
        ("idle pool", False, 0),
        ("busy pool", True, 0),
        (f"{CASCADES} of them cascades, idle pool", False, CASCADES),
        (f"{CASCADES} of them cascades, busy pool", True, CASCADES),
    ):
        times = run(is_busy, cascades)
        p50, p99 = np.percentile(times, [50, 99])
        word = "met" if p99 <= TARGET_US else "MISSED"
        print(
            f"route decision, {VARIANTS} variants, {name}: p50 {p50:.1f} us, "
            f"p99 {p99:.1f} us (target p99 at most {TARGET_US:.0f} us: {word})"
        )


if __name__ == "__main__":
    main()
