"""FPGAs: Verilog of a network in few bits, simulated here and placed, or a project for HLS."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from compilers.chain import ChosenPass
from compilers.contracts import Estimate, Format, Job, Work
from compilers.forms import TorchModel
from compilers.fpga import cycles, design, hls, netlist, parts, place, size, verilog
from compilers.fpga.fixed import FixedModel
from compilers.fpga.timing import latency
from compilers.passes import quantize_aware
from model_repo.errors import BadInput, Unsupported
from model_repo.hls import read_project
from model_repo.records import Artifact
from model_repo.store import describe

TARGET = "fpga"
CIRCUIT, PROJECT = "rtl_emulated", "hls_emulated"
FORMATS = {
    CIRCUIT: Format(("fixed",), ("da4ml", "verilator")),
    PROJECT: Format(("fixed",), ("hls4ml",), "hls"),
}
UNTRAINED = 4.0
"""How many times the look-up tables of a trained network an untrained one is let take; two trained
on digits took 0.6 and 0.9 of what they took before."""
FILE, PROJECT_FILE = "design.zip", "project.zip"


class Options(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """part: the FPGA, one of `parts.PARTS`. target_mhz: the clock that the placer aims for, and
    that is assumed where nothing is placed. adders_per_stage: the longest chain of adders between
    two registers. place: whether to synthesise, place, route and pack, which takes minutes. xilinx:
    whether to count the cells that the core takes on UltraScale+.

    hls: whether to write a project for Vitis HLS instead, for `hls.PART`. reuse_factor: how many
    products one multiplier of it computes, one after the other; the nearest that a layer allows.
    """

    part: str = "ecp5-45k"
    target_mhz: Annotated[float, Meta(gt=0, le=1000)] = 100.0
    adders_per_stage: Annotated[int, Meta(ge=1, le=100)] = 5
    place: bool = False
    xilinx: bool = False
    hls: bool = False
    reuse_factor: Annotated[int, Meta(ge=1, le=1_000_000)] = 64


def check(options: Options) -> None:
    """Raise BadInput for a part that is not known, and where a project, which only a vendor's tool
    can place, is to be placed."""
    parts.find(options.part)
    if options.hls and (options.place or options.xilinx):
        raise BadInput(
            "with hls: true nothing is synthesised here: leave out place and xilinx, or hls"
        )


def formats(options: Options) -> tuple[str, ...]:
    """The one format that these options ask for."""
    return (PROJECT if options.hls else CIRCUIT,)


def foresee(network: str, passes: Sequence[ChosenPass], options: Options, work: Work) -> None:
    """Refuse, before anything is trained for minutes, what no training could make fit.

    Raises Unsupported for a layer that has no circuit, and for a network that would not fit its
    part with a quarter of the look-up tables that it takes untrained.
    """
    for step in passes:
        if step.name == "prune":  # how much of it is left is not known yet
            return
        if step.name == "distill":
            network = step.options.student
        if step.name == "quantize_aware":
            module = work.source.build(network, work.seed)
            begun = quantize_aware.untrained(TorchModel(network, module), step.options, work)
            if not options.hls:
                least = size.luts(begun) / size.TOO_HIGH / UNTRAINED
                _check_fits(least, options.part, parts.find(options.part), "even well trained ")


def lower(model: FixedModel, artifact_format: str, folder: Path, job: Job) -> Artifact:
    """Write the Verilog of `model`, or its HLS project, and what its ports mean into one zip.

    Raises BadInput for a part that is not known, Unsupported, before anything is unrolled, for a
    network that is too large for it, and MissingExtra.
    """
    options: Options = job.options
    if artifact_format == PROJECT:
        return _lower_to_project(model, folder / PROJECT_FILE, job)
    part = parts.find(options.part)
    _check_fits(size.luts(model) / size.TOO_HIGH, options.part, part)
    job.say("unrolling the network into adders")
    circuit = verilog.unroll(model, options.adders_per_stage)
    _check_fits(circuit.cost, options.part, part)
    path = folder / FILE
    design.write(model, circuit, options, path)
    # What comes next: its answers are compared, and nothing else speaks for that long.
    job.say("building its simulator")
    return describe(path, artifact_format)


def _lower_to_project(model: FixedModel, path: Path, job: Job) -> Artifact:
    job.say("writing an HLS project")
    hls.write(model, job.options, path)
    job.say("compiling it, and comparing its answers")
    hls.check_exact(model, path, job.seed)
    return describe(path, PROJECT)


def _check_fits(adder_bits: float, name: str, part: parts.Part, what: str = "") -> None:
    needed = adder_bits * parts.FAMILIES[part.family].luts_per_adder_bit
    if needed > part.luts:
        larger = [each for each, other in parts.PARTS.items() if other.luts >= needed]
        raise Unsupported(
            f"{what}the network would take about {needed:,.0f} look-up tables, and {name} has "
            f"{part.luts:,}: take fewer bits, or a narrower or pruned network"
            + (f", or the part {' or '.join(larger)}" if larger else "; no part has room for it")
        )


def finish(path: Path, folder: Path, job: Job) -> Artifact:
    """Place the circuit and count its Xilinx cells, as the options ask; else pass it on as it is.

    Raises Unsupported if it does not fit, MissingExtra without the tools, and FareboxError if one
    of them fails or the netlist answers otherwise than the circuit.
    """
    options: Options = job.options
    made = folder / path.name
    if not options.place and not options.xilinx:
        shutil.copyfile(path, made)
        return describe(made, PROJECT if options.hls else CIRCUIT)
    found = design.read(path)
    with tempfile.TemporaryDirectory() as name:
        part = parts.find(found.design.part)
        task = place.Task(
            found.design, found.core, part, found.examples, job.seed, Path(name), job.say
        )
        files: dict[str, Any] = {}
        if options.xilinx:
            files[design.XILINX] = place.count_xilinx(task)
        if options.place:
            files[design.PLACED], files[design.BITSTREAM] = place.place(task)
            files[design.SHELL] = netlist.shell(found.design)
    design.extend(path, files, made)
    return describe(made, CIRCUIT)


def estimate(path: Path, artifact_format: str, job: Job) -> Estimate:
    """How fast the part would be: emulated at the clock that was reached, else estimated at the
    clock that is assumed. Carrying rows to the board and back is not in it."""
    if artifact_format == PROJECT:
        return cycles.latency(read_project(path), job)
    return latency(design.read(path), job)
