"""Compute with fewer bits: int8, bfloat16, float16, or weights kept in 8 or 4 bits."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Collection
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from compilers.contracts import Form, Work
from compilers.graph import graphs, integers
from compilers.quiet import hushed
from compilers.source import Source
from model_repo import plugins
from model_repo.errors import BadInput, FareboxError
from model_repo.records import PassStep

TAKES: Form = "onnx"
GIVES: Form = "onnx"
LIBRARIES = ("nncf", "numpy", "onnx", "onnxruntime")
INT8 = {"static", "qdq", "dynamic", "symmetric"}
MARKS = {"bf16", "fp16"}
ORDER = {
    "mark": "it says how the finished graph may be computed: put it last, and only one of them",
    "weights": "the weights are integers already, and no mode but bf16 and fp16 takes those",
    "int8": "its layers compute in int8 already: keep one of the two",
}
"""Why nothing follows a mode; MARKS may follow the others."""


class Options(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """mode: a file in `compilers/quantizers`.

    static: int8 through NNCF, ranges from calibration rows. qdq: int8 through ONNX Runtime's own
    calibration. dynamic: int8, ranges found at each run. symmetric: int8 as GPUs and TPUs take it.
    weights: only they are integers, for size. bf16, fp16: the graph stays, a target that can may
    compute it in bfloat16 or float16.

    skip: names of ONNX nodes that stay in floating point. spare: how many more, those whose int8
    alone costs the answers most. transformer (static): SmoothQuant; auto: if there is attention.
    bits (weights): 8 or 4. ranges (qdq, symmetric): how they come from what was seen. per_channel
    (qdq, dynamic): one scale for each output channel of a weight, not one for all. reduce_range
    (static, qdq, dynamic): 7 of 8 bits, for CPUs without VNNI, where sums of U8S8 overflow.
    """

    mode: str = "static"
    ranges: Literal["minmax", "entropy", "percentile"] = "minmax"
    per_channel: bool = True
    reduce_range: bool = False
    transformer: Literal["auto"] | bool = "auto"
    bits: Literal[8, 4] = 8
    skip: tuple[str, ...] = ()
    spare: Annotated[int, Meta(ge=0)] = 0


def check_after(options: Options, before: tuple[PassStep, ...]) -> None:
    """Raise BadInput for options of another mode, and after a `quantize` that leaves no room."""
    _mode(options)
    modes = [step.options["mode"] for step in before if step.name == "quantize"]
    if not modes or (options.mode in MARKS and not MARKS & {*modes}):
        return
    found = "int8" if modes[-1] in INT8 else "mark" if modes[-1] in MARKS else modes[-1]
    raise BadInput(f"quantize in mode {options.mode} after mode {modes[-1]}: {ORDER[found]}")


def searched(source: Source) -> dict[str, tuple[Any, ...]]:
    """What a search should try: each mode that CPUs gain by, and sparing sensitive layers."""
    return {"mode": ("static", "qdq", "dynamic", "weights", "bf16"), "spare": (0, 1, 2)}


def apply(model: Any, options: Options, work: Work) -> Any:
    """The quantized onnx.ModelProto.

    Raises BadInput for a graph that is quantized already or that the mode cannot take, for names
    to skip that it does not have, for weights that are not FP32, and for weights or ranges that
    are not finite.
    """
    import onnx

    mode = _mode(options)
    work.say(f"quantizing, {options.mode}")
    if options.mode in MARKS:
        return mode.quantize(graphs.strip(model), options, (), work)
    integers.check_unquantized(model, "quantize")
    integers.check_float32(model, options.mode)
    ready = _prepared(model)
    kept = _kept(ready, options, work)
    try:
        # The libraries draw bars and tell of their steps on stdout, which is the user's.
        with redirect_stdout(io.StringIO()), hushed(""):
            made = mode.quantize(ready, options, kept, work)
            # Some libraries break graphs: theirs is the fault then, not the model's.
            onnx.checker.check_model(made, full_check=True)
    except FareboxError:
        raise
    except Exception as error:  # a third-party quantizer raises anything on graphs it cannot take
        reason = " ".join([f"{type(error).__name__}:", *str(error).split()])[:200]
        raise BadInput(
            f"quantize in mode {options.mode} cannot take this graph: {reason}"
        ) from error
    integers.check_scales(made)
    return graphs.strip(made)


def _mode(options: Options) -> Any:
    """The file of the mode; raises BadInput if there is none, or an option belongs to others."""
    names = plugins.names("compilers.quantizers")
    if options.mode not in names:
        raise BadInput(f"quantize: mode is {options.mode!r}: choose one of {', '.join(names)}")
    modes = {name: plugins.load("compilers.quantizers", name) for name in names}
    for name, default in zip(Options.__struct_fields__, Options.__struct_defaults__, strict=True):
        is_given = name != "mode" and getattr(options, name) != default
        if is_given and name not in modes[options.mode].OPTIONS:
            owners = [other for other in names if name in modes[other].OPTIONS]
            raise BadInput(
                f"quantize: {name} belongs to mode {', '.join(owners)}, and mode is "
                f"{options.mode}: leave {name} out or change the mode"
            )
    return modes[options.mode]


def _prepared(model: Any) -> Any:
    """Folded, with the shapes that the quantizers ask for, and a name on every node."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as name, hushed(""):
        given, ready = Path(name) / "given.onnx", Path(name) / "ready.onnx"
        graphs.write(model, given)
        # Shapes are inferred already by the exporter; the symbolic pass would need sympy.
        quant_pre_process(str(given), str(ready), skip_symbolic_shape=True)
        proto = onnx.load(ready)
    for place, node in enumerate(proto.graph.node):
        node.name = node.name or f"{node.op_type}_{place}"
    return proto


def _kept(proto: Any, options: Options, work: Work) -> Collection[str]:
    """The names of the nodes that stay in floating point."""
    names = {node.name for node in proto.graph.node}
    for name in options.skip:
        if name not in names:  # the libraries say nothing of a name they do not find
            raise BadInput(
                f"quantize: skip names the node {name!r}, which the graph does not have: "
                f"its nodes are {', '.join(sorted(names))}"
            )
    if not options.spare:
        return set(options.skip)
    from compilers.sensitivity import quantization

    ranked = [name for name in quantization.rank(proto, work) if name not in options.skip]
    if options.spare >= len(ranked):
        raise BadInput(
            f"quantize: spare is {options.spare}, and the graph has {len(ranked)} layers to "
            "quantize: spare fewer"
        )
    return {*options.skip, *ranked[: options.spare]}
