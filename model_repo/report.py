"""What each variant costs, how fast and how accurate it is, at the prices of one day."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date

from msgspec import Struct

from model_repo.pareto import front
from model_repo.prices import Price, PriceBook
from model_repo.records import LatencyPoint, Metric, Variant

MILLION = 1_000_000


class Row(Struct, frozen=True):
    """One variant; p50 and p99 are those of a lone request, device_s_per_item of the best batch.

    usd_per_million is at the best batch, usd_per_million_batch1 for lone requests. metric: what
    `accuracy` is, the same for all variants of a model. is_settled: whether the host was quiet
    enough to know the median device times. is_sound: whether a cascade's stages are those it was
    calibrated with. source: whether the times were measured on the target's hardware; if not, they
    are the upper ends of ranges, whose lower ends p99_ms_low and usd_per_million_low are. host:
    where, or on what and by whom. instance: the instance type that it is priced as, which only
    stands in for hardware that nobody rents out unless is_own_price. notes: what its making left.
    """

    model: str
    version: str
    variant: str
    target: str
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    p50_ms: float
    p99_ms: float
    device_s_per_item: float
    usd_per_million: float
    usd_per_million_batch1: float
    kind: str
    source: str
    servable: bool
    pareto: bool
    metric: Metric = "accuracy"
    is_settled: bool = True
    is_sound: bool = True
    p99_ms_low: float | None = None
    usd_per_million_low: float | None = None
    host: str = ""
    instance: str = ""
    is_own_price: bool = True
    notes: dict[str, float | str] = {}


def rows(
    variants: Sequence[Variant],
    book: PriceBook,
    day: date,
    is_servable: Callable[[Variant], bool],
    metric: Metric = "accuracy",
) -> list[Row]:
    """The rows of one model version, the dearest first; raises BadInput for an unpriced target.

    Only what this machine can serve and what was measured competes for the front.
    """
    prices = {v.key: book.target_price(v.target, day, v.profile.hardware) for v in variants}
    servable = {v.key for v in variants if is_servable(v)}
    competing = [v for v in variants if v.key in servable and v.profile.source == "measured"]
    best = {v.key for v in front(competing, lambda v: _usd(v.profile.best_point, prices[v.key]))}
    made = [_row(v, prices[v.key], v.key in servable, v.key in best, metric) for v in variants]
    return sorted(made, key=lambda row: (-row.usd_per_million, row.variant))


def _row(variant: Variant, price: Price, servable: bool, pareto: bool, metric: Metric) -> Row:
    key, profile = variant.key, variant.profile
    lone, best = profile.latency[0], profile.best_point
    is_range = profile.source != "measured"
    return Row(
        key.model,
        key.version,
        key.variant,
        variant.target,
        profile.accuracy,
        profile.accuracy_low,
        profile.accuracy_high,
        lone.p50_s * 1e3,
        lone.p99_s * 1e3,
        best.device_s / best.batch_size,
        MILLION * _usd(best, price),
        MILLION * _usd(lone, price),
        variant.kind,
        profile.source,
        servable,
        pareto,
        metric,
        profile.is_settled,
        p99_ms_low=lone.device_low_s * 1e3 if is_range else None,
        usd_per_million_low=MILLION * _usd(best, price, best.device_low_s) if is_range else None,
        host=profile.host,
        instance=price.instance,
        is_own_price=not is_range or bool(profile.hardware),
        notes=variant.notes,
    )


def _usd(point: LatencyPoint, price: Price, device_s: float | None = None) -> float:
    """Dollars for one item of a batch, of its own device time or another."""
    busy_s = point.device_s if device_s is None else device_s
    return busy_s / point.batch_size * price.usd_per_device_s


def reference(table: Sequence[Row]) -> Row | None:
    """The row everything is compared with."""
    return next((row for row in table if row.kind == "reference"), None)


def times_cheaper(row: Row, table: Sequence[Row]) -> float | None:
    """How many times cheaper than the reference, at best batches; None without a reference."""
    compared = reference(table)
    if compared is None or not row.usd_per_million:
        return None
    return compared.usd_per_million / row.usd_per_million


def by_target(table: Sequence[Row], points: float = 0.01) -> list[Row]:
    """For each target its cheapest variant within `points` of the reference, measured or not.

    The dearest first; for a target that has nothing as accurate, the most accurate it has.
    """
    found: dict[str, Row] = {}
    for row in table:
        best = found.get(row.target)
        if best is None or _rank(row, table, points) > _rank(best, table, points):
            found[row.target] = row
    return sorted(found.values(), key=lambda row: -row.usd_per_million)


def _rank(row: Row, table: Sequence[Row], points: float) -> tuple[bool, float, float]:
    is_close = points_below(row, table) <= points * 100
    return is_close, 0.0 if is_close else row.accuracy, -row.usd_per_million


def points_below(row: Row, table: Sequence[Row]) -> float:
    """How many hundredths of accuracy a row is under the reference; 0 without one."""
    compared = reference(table)
    # Rounded, since 0.98 - 0.97 is a little more than 0.01 in binary.
    return 0.0 if compared is None else round(100 * (compared.accuracy - row.accuracy), 7)


def finding(table: Sequence[Row], points: float = 0.01) -> str:
    """One sentence: how much cheaper the cheapest variant within a point of the reference is."""
    compared = reference(table)
    name = f"{table[0].model}/{table[0].version}"
    if compared is None:
        return f"{name}: {len(table)} variants, no reference among them"
    if len(table) == 1:
        return f"{name}: only the reference is there"
    close = [row for row in table if row.pareto and points_below(row, table) <= points * 100]
    best = min(close, key=lambda row: row.usd_per_million, default=compared)
    times = times_cheaper(best, table) or 1.0
    if best is compared or times < 1.05:
        return f"{name}: nothing is cheaper within {points * 100:g} point of the reference"
    return f"{name}: {_times(times)} cheaper within {points * 100:g} point of the reference"


def _times(value: float) -> str:
    return f"{value:.0f}x" if value >= 9.95 else f"{value:.1f}x"
