"""Whether the ledger, under load, meters the device time that the profiles foretell.

The variants are measured anew with `farebox measure`; then the real gateway serves each alone:
first requests of so many rows one after the other, so that every batch has that size, then one row
each from 16 connections, batched as they come. What the ledger attributed is divided by what the
profile says of the batches that really ran. `make bench` runs it. Money is a sum and the profile a
median: where the median charge is like the profile and the sum is not, the host was disturbed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterable
from pathlib import Path

import load
import numpy as np
import servers
import uvloop
from msgspec import structs
from prometheus_client.parser import text_string_to_metric_families

from compilers.example import read
from model_repo import cascades, options, runtime
from model_repo.records import Model, Variant, VariantKey
from model_repo.store import Store
from model_repo.table import render
from model_repo.tensors import Array

MODEL, VERSION = "digits", "1"
VARIANTS = ("cpu-fp32", "cpu-int8", "cpu-int8-openvino", "cpu-pruned50-int8", "cpu-convnet")
ROWS, CONNECTIONS, TARGET = (1, 8, 32), 16, 0.10
COUNTERS = (
    "farebox_cost_usd_total",
    "farebox_reference_cost_usd_total",
    "farebox_batch_size_sum",
    "farebox_batch_size_count",
)
COLUMNS = [
    "variant",
    "load",
    "rows a batch",
    "profile us/item",
    "ledger us/item",
    "its median",
    "ratio",
    "",
]


def shelve_alone(source: Store, model: Model, variants: Iterable[Variant], root: Path) -> None:
    """Each variant as a model of its own, its reference: so the gateway itself counts, batch by
    batch, what the profile says (`farebox_reference_cost_usd_total`)."""
    store = Store(root)
    for variant in variants:
        key = VariantKey(variant.key.variant, VERSION, variant.key.variant)
        store.commit_model(structs.replace(model, name=key.model))
        store.commit(structs.replace(variant, key=key, kind="reference"), source.artifact(variant))


def scrape(port: int, model: str) -> Array:
    """Of one model: dollars used, dollars the profile says, rows, batches."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
        text = page.read().decode()
    found = dict.fromkeys(COUNTERS, 0.0)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = sample.labels
            is_ours = labels.get("model") == model and labels.get("basis") != "allocation"
            if is_ours and sample.name in found:
                found[sample.name] += sample.value
    return np.array(list(found.values()))


def request(model: Model, name: str, row: Array, count: int) -> bytes:
    """One HTTP request of `count` rows, in binary; the answer comes in JSON."""
    rows = np.repeat(row[:1], count, axis=0)
    tensor = {
        "name": model.inputs[0].name,
        "datatype": model.inputs[0].datatype,
        "shape": list(rows.shape),
        "parameters": {"binary_data_size": rows.nbytes},
    }
    text = json.dumps({"inputs": [tensor]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    return load.http_request(f"/v2/models/{name}/infer", text + rows.tobytes(), headers)


def drive(
    port: int, pid: int, name: str, raw: bytes, seconds: float, connections: int
) -> tuple[Array, float]:
    """What the counters rose by, and the median dollars a request was charged."""
    charges: list[float] = []

    def watch(answer: bytes) -> None:
        charges.append(json.loads(answer)["parameters"]["cost_usd"])

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(load.http(port, pid, [raw], seconds / 4, connections))
        before = scrape(port, name)
        done = runner.run(load.http(port, pid, [raw], seconds, connections, watch))
    assert not done.errors, f"{name}: {done.errors} answers were not 200"
    return scrape(port, name) - before, statistics.median(charges)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--variants", default=",".join(VARIANTS), help="those that are there")
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    source = Store(args.repository)
    with tempfile.TemporaryDirectory() as folder:
        model, variants = measured(source, args.variants.split(","), Path(folder) / "fresh")
        shelf = Path(folder) / "alone"
        shelve_alone(Store(Path(folder) / "fresh"), model, variants, shelf)
        example = source.example(MODEL, VERSION)
        assert example is not None, "a compiled recipe shelves an example"
        (row,) = read(example, model).inputs.values()
        lines = served(shelf, model, variants, row, args.seconds)
    print(render(COLUMNS, lines))
    worst = max((float(line[-2]) for line in lines), key=lambda ratio: abs(ratio - 1))
    missed = sum(line[-1] == "MISSED" for line in lines)
    print(
        f"ledger over profile: the worst is {worst:.2f}; {len(lines) - missed} of {len(lines)} "
        f"within {TARGET:.0%}: {'MISSED' if missed else 'met'}"
    )
    return 0


def measured(source: Store, names: list[str], root: Path) -> tuple[Model, list[Variant]]:
    """A copy of the variants asked for that can run here, freshly measured."""
    model, fresh = source.model(MODEL, VERSION), Store(root)
    fresh.commit_model(model)
    shown = source.example(MODEL, VERSION)
    if shown is not None:
        shutil.copy(shown, fresh.root / MODEL / VERSION)
    for variant in source.variants(MODEL, VERSION):
        is_single = not cascades.is_cascade(variant)
        if variant.key.variant in names and is_single and runtime.is_servable(variant):
            fresh.commit(variant, source.artifact(variant))
    command = [sys.executable, "-m", "model_repo.cli", "measure", "--repository", str(root)]
    subprocess.run(command, check=True)
    return model, fresh.variants(MODEL, VERSION)


def served(
    shelf: Path, model: Model, variants: list[Variant], row: Array, seconds: float
) -> list[list[str]]:
    """A line for each variant and load."""
    http, grpc = servers.free_port(), servers.free_port()
    lines = []
    with servers.running(servers.gateway(shelf, http, grpc), http) as process:
        for variant in variants:
            name = variant.key.variant
            for rows, connections in (*((rows, 1) for rows in ROWS), (1, CONNECTIONS)):
                raw = request(model, name, row, rows)
                seen, charge = drive(http, process.pid, name, raw, seconds, connections)
                told = figures(variant.target, seen, charge / rows)
                lines.append([name, f"{connections} x {rows}", *told])
                print(" ".join(lines[-1]), file=sys.stderr)
    return lines


def figures(target: str, seen: Array, charge: float) -> list[str]:
    used, foretold, rows, batches = seen
    price = options.read_prices(None).target_price(target, options.today())
    us_per_usd = 1e6 / price.usd_per_device_s
    return [
        f"{rows / batches:.1f}",
        f"{foretold / rows * us_per_usd:.2f}",
        f"{used / rows * us_per_usd:.2f}",
        f"{charge * us_per_usd:.2f}",
        f"{used / foretold:.3f}",
        "met" if abs(used / foretold - 1) <= TARGET else "MISSED",
    ]


if __name__ == "__main__":
    sys.exit(main())
