"""Write a fixed-point network as an hls4ml project for Vitis HLS, and check that it is exact."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from compilers.fpga import design, loops
from compilers.fpga.fixed import FixedModel
from model_repo import hls
from model_repo.errors import FareboxError, MissingExtra, Unsupported
from model_repo.hls import Loop, Project

PART = "xcvu47p-fsvh2892-2-e"
"""The cloud's FPGA, of AWS F2 instances."""
MULTIPLIERS = 9024
"""Of that part: its DSP slices (AMD DS890)."""
UNROLLED = 4096
"""Products of one layer at once; Vitis HLS gives up on longer loops that it must unroll (hls4ml's
issue 1013)."""
ROWS = 64


class Asked(Protocol):
    """What of a target's options shapes a project."""

    @property
    def reuse_factor(self) -> int: ...
    @property
    def target_mhz(self) -> float: ...


def write(model: FixedModel, options: Asked, path: Path) -> None:
    """Write the project into a zip: same model and options, same bytes.

    Raises Unsupported naming a layer without an exact form or a reuse factor that is too small for
    the part, and MissingExtra.
    """
    chain, answers = loops.read(model, _reuse(options.reuse_factor))
    check_fits(chain.loops)
    facts = Project(
        model.input_name,
        model.output_name,
        model.format,
        loops.image(model.shape),
        answers,
        PART,
        options.target_mhz,
        tuple(chain.loops),
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "project"
        _convert(chain, folder, options)
        paths = sorted(each for each in folder.rglob("*") if each.is_file())
        files: dict[str, Any] = {
            # Where it was written is nobody's business.
            str(each.relative_to(folder)): each.read_text().replace(str(folder), ".")
            for each in paths
        }
    design.pack({hls.FACTS: facts, **files}, path)


def _backend() -> Any:
    try:
        with warnings.catch_warnings():
            # Of front ends that it looks for and does not find, which nobody asked for.
            warnings.simplefilter("ignore")
            from hls4ml.backends import get_backend
    except ModuleNotFoundError as error:
        raise MissingExtra("writing an HLS project", error.name or "hls4ml", "fpga") from error
    return get_backend("Vitis")


def _reuse(wanted: int) -> loops.Reuse:
    backend = _backend()

    def nearest(inputs: int, outputs: int, most: int) -> int:
        every = backend.get_valid_reuse_factors(inputs, outputs)
        valid = [each for each in every if each <= most]
        return int(backend.get_closest_reuse_factor(valid, wanted))

    return nearest


def multipliers(loop: Loop) -> int:
    """How many a layer takes: its products over its reuse factor (Duarte et al. 2018,
    arXiv:1804.06913)."""
    return -(-loop.inputs * loop.outputs // loop.reuse_factor)


def check_fits(layers: Sequence[Loop]) -> None:
    """Raise Unsupported where the part has too few multipliers or a loop is too long."""
    for loop in layers:
        if multipliers(loop) > UNROLLED:
            raise Unsupported(
                f"the layer {loop.name!r} would compute {multipliers(loop):,} products at once, "
                f"and Vitis HLS unrolls at most {UNROLLED:,}: raise reuse_factor to "
                f"{-(-loop.inputs * loop.outputs // UNROLLED)} or more"
            )
    whole = sum(map(multipliers, layers))
    if whole > MULTIPLIERS:
        raise Unsupported(
            f"the network would take {whole:,} multipliers, and {PART} has {MULTIPLIERS:,}: raise "
            "reuse_factor, or take a narrower network"
        )


def _convert(chain: loops.Chain, folder: Path, options: Asked) -> None:
    from hls4ml.model.graph import ModelGraph
    from hls4ml.writer.vitis_writer import VitisWriter

    settings = {
        "OutputDir": str(folder),
        "ProjectName": hls.NAME,
        "Backend": "Vitis",
        "Part": PART,
        "ClockPeriod": 1e3 / options.target_mhz,
        "ClockUncertainty": "27%",
        "IOType": "io_parallel",
        "HLSConfig": {
            # Of nothing: every number that is computed has a type of its own.
            "Model": {"Precision": "ap_fixed<16,6>", "ReuseFactor": 1, "Strategy": "Resource"},
            "LayerName": chain.settings,
        },
        "WriterConfig": {
            "Namespace": None,
            "WriteWeightsTxt": True,
            "WriteTar": False,
            "TBOutputStream": "both",
            "WriteEmulationConstants": False,
        },
        # Else a name drawn at random.
        "Stamp": "farebox",
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of passes that no flow of it runs
        graph = ModelGraph.from_layer_list(
            settings, chain.layers, [loops.INPUT], [chain.layers[-1]["name"]]
        )
        graph.apply_flow("vitis:ip")
        VitisWriter().write_hls(graph)
    given = {each.name: each.get_attr("reuse_factor") for each in graph.get_layers()}
    assert all(given[each.name] == each.reuse_factor for each in chain.loops if each.inputs)


def check_exact(model: FixedModel, path: Path, seed: int) -> None:
    """Run the project on real rows and on random ones: each must answer as the network does.

    Raises FareboxError if one does not, to the last bit, and what `hls.emulator` raises.
    """
    rng = np.random.default_rng(seed)
    width = prod(model.shape)
    low = -(2 ** (model.format.bits - 1)) if model.format.signed else 0
    codes = rng.integers(low, low + 2**model.format.bits, (ROWS, width))
    real = model.examples.reshape(-1, width)
    values = model.format.values(np.concatenate([codes, real[:ROWS]]))
    wrong = (hls.emulator(path).run(values) != model.compute(values)).any(1)
    if wrong.any():
        raise FareboxError(
            f"the HLS project answers {wrong.sum()} of {len(wrong)} rows otherwise than the "
            "network: please report this, and leave out hls"
        )
