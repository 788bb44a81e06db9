"""Put made-up variants on a shelf for the tests."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from model_repo.records import (
    Kind,
    LatencyPoint,
    Model,
    Profile,
    Source,
    TensorSpec,
    Variant,
    VariantKey,
)
from model_repo.store import Store, describe

AT = datetime(2026, 2, 1, tzinfo=UTC)


def model(name: str = "digits", version: str = "1") -> Model:
    return Model(
        name,
        version,
        (TensorSpec("x", "FP32", (-1, 64)),),
        (TensorSpec("y", "FP32", (-1, 10)),),
        True,
        "accuracy",
        "y",
    )


def profile(
    accuracy: float = 0.97,
    p99_s: float = 0.001,
    device_s: float = 0.0001,
    source: Source = "measured",
) -> Profile:
    """Batches of 1 and of 10; ten cost five times what one costs."""
    points = tuple(
        LatencyPoint(size, p99_s / 2 * n, p99_s * 0.9 * n, p99_s * n, device_s * n, 100)
        for size, n in ((1, 1), (10, 5))
    )
    return Profile(
        accuracy,
        accuracy - 0.02,
        min(1.0, accuracy + 0.02),
        450,
        points,
        0.1,
        1000,
        "host",
        source,
        AT,
    )


def shelve(
    store: Store,
    variant: str,
    told: Profile | None = None,
    *,
    kind: Kind = "variant",
    target: str = "cpu",
    name: str = "digits",
    version: str = "1",
    artifact_format: str = "null",
    fill: float = 0.0,
) -> Variant:
    """Commit one variant whose artifact the null runtime can open."""
    store.root.mkdir(parents=True, exist_ok=True)
    file: Path = store.root / "times.json"
    file.write_text(json.dumps({"fill": fill}))
    made = Variant(
        VariantKey(name, version, variant),
        kind,
        target,
        describe(file, artifact_format),
        told or profile(),
    )
    store.commit_model(model(name, version))
    store.commit(made, file)
    file.unlink()
    return store.variant(made.key)
