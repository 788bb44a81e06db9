"""Whether a profile repeats itself: each variant is measured several times, minutes apart.

`make bench` runs it on digits. For each batch size, the largest of the median device times over the
smallest, less one. A profile that calls itself noisy promises nothing, and is counted apart.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from compilers.profiling import measure, remeasure
from model_repo import cascades, runtime
from model_repo.records import Model, Profile, Variant
from model_repo.store import Store
from model_repo.table import render

TARGET = 0.10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--model", default="digits")
    parser.add_argument("--version", default="1")
    parser.add_argument("--times", type=int, default=3)
    args = parser.parse_args()
    store = Store(args.repository)
    model = store.model(args.model, args.version)
    found = [
        variant
        for variant in store.variants(args.model, args.version)
        if not cascades.is_cascade(variant) and runtime.is_servable(variant)
    ]
    seen: dict[str, list[Profile]] = {variant.key.variant: [] for variant in found}
    for turn in range(args.times):
        for variant in found:
            print(f"pass {turn + 1} of {args.times}: {variant.key}", file=sys.stderr)
            seen[variant.key.variant].append(measured(store, model, variant))
    sizes = [point.batch_size for point in found[0].profile.latency]
    columns = ["variant", *(f"batch {size}" for size in sizes), "", ""]
    print(render(columns, [line(name, profiles) for name, profiles in seen.items()]))
    quiet = [profiles for profiles in seen.values() if all(p.is_settled for p in profiles)]
    alike = sum(max(spreads(profiles)) <= TARGET for profiles in quiet)
    word = "met" if alike == len(quiet) else "MISSED"
    print(
        f"{args.times} repeats of median device time within {TARGET:.0%} at every batch size: "
        f"{alike} of {len(quiet)} variants that were not noisy, of {len(seen)} in all: {word}"
    )
    return 0


def measured(store: Store, model: Model, variant: Variant) -> Profile:
    return measure.profile(
        store.artifact(variant),
        variant.artifact.format,
        model,
        remeasure.rows(store, model, None, print),
        score=lambda _: remeasure.score_of(variant.profile),
        batch_sizes=[point.batch_size for point in variant.profile.latency],
        seed=variant.profile.seed,
    )


def spreads(profiles: list[Profile]) -> list[float]:
    """For each batch size."""
    times = [[point.device_s for point in profile.latency] for profile in profiles]
    return [max(each) / min(each) - 1 for each in zip(*times, strict=True)]


def line(name: str, profiles: list[Profile]) -> list[str]:
    found = spreads(profiles)
    noisy = sum(not profile.is_settled for profile in profiles)
    return [
        name,
        *(f"{spread:.1%}" for spread in found),
        "met" if max(found) <= TARGET else "MISSED",
        f"noisy in {noisy} of {len(profiles)}" if noisy else "",
    ]


if __name__ == "__main__":
    sys.exit(main())
