"""Compute once, now, what is the same at every run: constants, batch norms, pairs of operators."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from compilers import calibration
from compilers.contracts import Form, Work
from compilers.graph import graphs, integers
from compilers.quiet import hushed
from compilers.source import Source
from model_repo.errors import BadInput
from model_repo.records import PassStep
from model_repo.tensors import Array

TAKES: Form = "onnx"
GIVES: Form = "onnx"
LIBRARIES = ("numpy", "onnx", "onnxruntime", "onnxscript")
TOLERANCE = 1e-4
"""Largest difference, as a share of the largest output: sums in another order round otherwise."""


class Options(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """None: what is folded gives the same answers."""


def check_after(options: Options, before: tuple[PassStep, ...]) -> None:
    """Raise BadInput after `quantize`, and after another `fuse`."""
    modes = [step.options.get("mode") for step in before if step.name == "quantize"]
    if any(mode not in ("bf16", "fp16") for mode in modes):
        raise BadInput(
            "fuse after quantize: it would fold what was rounded for integers back into floating "
            "point: fuse before quantizing"
        )
    if modes:
        raise BadInput(
            f"fuse after quantize in mode {modes[-1]}, which says how the finished graph may be "
            "computed: fuse before it"
        )
    if any(step.name == "fuse" for step in before):
        raise BadInput("fuse after fuse: there is nothing left to fold: keep one of the two")


def searched(source: Source) -> Mapping[str, tuple[Any, ...]]:
    """Nothing to vary."""
    return {}


def apply(model: Any, options: Options, work: Work) -> Any:
    """The onnx.ModelProto with fewer nodes, and no operator but those of ONNX and those it had.

    Raises BadInput for a graph that is quantized already, and if the answers to calibration rows
    change.
    """
    integers.check_unquantized(model, "fuse")
    work.say("fusing")
    made = _optimized(_rewritten(model))
    _settle_domains(made, model)
    _check_answers(model, made, work)
    work.notes["fuse.nodes_before"] = len(model.graph.node)
    work.notes["fuse.nodes_after"] = len(made.graph.node)
    return graphs.strip(made)


def _rewritten(model: Any) -> Any:
    from onnxscript import optimizer, rewriter

    with hushed("onnxscript"):
        return rewriter.rewrite(optimizer.optimize(model))


def _optimized(model: Any) -> Any:
    """As ONNX Runtime rewrites any graph for any hardware; what it does beyond is its own."""
    import onnx
    import onnxruntime

    options = _options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "model.onnx"
        options.optimized_model_filepath = str(path)
        _open(model, options)
        return onnx.load(path)


def _settle_domains(made: Any, given: Any) -> None:
    """Keep the sets of operators in use; raise BadInput for one that `given` did without."""
    used = {node.domain for node in made.graph.node} | {""}
    known = {item.domain for item in given.opset_import} | {"", "ai.onnx"}
    if strange := used - known:
        raise BadInput(
            f"fuse would write operators of {', '.join(sorted(strange))}, which other runtimes do "
            "not have: leave fuse out"
        )
    for place in reversed(range(len(made.opset_import))):
        if made.opset_import[place].domain not in used:
            del made.opset_import[place]


def _check_answers(given: Any, made: Any, work: Work) -> None:
    if not len(work.calibration):
        raise BadInput("fuse: there are no calibration rows to compare answers on: give some")
    feed = dict(work.calibration.take(slice(calibration.ROWS)).inputs)
    for wanted, got in zip(_answers(given, feed), _answers(made, feed), strict=True):
        if wanted.dtype.kind != "f":
            is_same = bool((wanted == got).all())
        else:
            largest = float(np.abs(wanted[np.isfinite(wanted)]).max(initial=1.0))
            is_same = np.allclose(got, wanted, rtol=0, atol=TOLERANCE * largest, equal_nan=True)
        if not is_same:
            raise BadInput("fuse would change the answers to calibration rows: leave fuse out")


def _answers(proto: Any, feed: dict[str, Array]) -> list[Array]:
    """All outputs, computed as the graph defines them, without further rewriting."""
    import onnxruntime

    options = _options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    answers: list[Array] = _open(proto, options).run(None, feed)
    return answers


def _options() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return options


def _open(proto: Any, options: Any) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
