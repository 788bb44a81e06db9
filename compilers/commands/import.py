"""Shelve an ONNX file as a model, with cheaper variants, measured, where there is data."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import msgspec

from model_repo import options
from model_repo.records import Model, TensorSpec, Variant
from model_repo.store import Store
from model_repo.table import render


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE.onnx", type=Path, help="the model, opset 7 or later")
    parser.add_argument("--name", help="what clients ask for (default: the file's name)")
    parser.add_argument(
        "--version",
        default="1",
        dest="model_version",
        metavar="V",
        help="of the model (default: 1)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FILE.npz",
        help="one array for each input, named after it; calibrates and judges variants",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FILE.npy",
        help="the right answer for each row of the data; accuracy is measured against them",
    )
    parser.add_argument(
        "--also",
        action="append",
        choices=("w8", "w4"),
        default=[],
        help="with the weights alone in 8 or 4 bits, for a small file",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of splits and made-up inputs (default: 0)"
    )
    options.add_repository(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    from compilers.foreign.importing import import_file
    from compilers.foreign.orders import Request
    from compilers.progress import Progress

    name = args.name or name_of(args.file)
    given = args.file, name, args.model_version, args.data, args.labels, args.seed
    request = Request(*given, also=tuple(sorted({*args.also})))
    with Progress(total=len(request.names)) as progress:
        outcome = import_file(request, Store(args.repository), progress)
    if args.json:
        row = {
            "model": outcome.model,
            "variants": outcome.variants,
            "made": outcome.made,
            "missing": outcome.missing,
            "remarks": outcome.remarks,
        }
        print(msgspec.json.format(msgspec.json.encode(row), indent=2).decode())
        return 0
    print(describe(outcome.model, outcome.variants))
    if not outcome.made:
        print(f"already shelved in {args.repository}: nothing was done")
    return 0


def name_of(path: Path) -> str:
    """The file's stem, with what a model's name may not hold made a dash."""
    return re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9._-]+", "-", path.stem).strip("-._")[:128] or "model"


def describe(model: Model, variants: list[Variant]) -> str:
    """What the model takes and gives, and how its variants did."""
    metric = model.metric if model.metric == "accuracy" else f"{model.metric} with the reference"
    rows = [
        [
            v.key,
            f"{v.profile.accuracy:.4f}",
            f"{v.profile.accuracy_low:.4f} to {v.profile.accuracy_high:.4f}",
            f"{point.p50_s * 1e3:.3f}",
            f"{point.p99_s * 1e3:.3f}",
            f"{_device_us(v):.1f}",
        ]
        for v in variants
        if (point := v.profile.latency[0])
    ]
    return "\n".join(
        [
            f"{model.name}/{model.version}",
            *(f"  takes {_tensor(spec)}" for spec in model.inputs),
            *(f"  gives {_tensor(spec)}" for spec in model.outputs),
            "  batches requests" if model.batches else "  answers one request at a time",
            f"  judged by the {metric} of {model.scored_output!r}",
            render(["variant", model.metric, "95 %", "p50 ms", "p99 ms", "device us/item"], rows),
        ]
    )


def _device_us(variant: Variant) -> float:
    best = variant.profile.best_point
    return best.device_s / best.batch_size * 1e6


def _tensor(spec: TensorSpec) -> str:
    sizes = ", ".join("any" if size < 0 else str(size) for size in spec.shape)
    return f"{spec.name} {spec.datatype} [{sizes}]"
