"""int8 through NNCF: ranges from calibration rows, and SmoothQuant where there is attention."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from compilers import calibration, delicate
from compilers.contracts import Work
from compilers.graph import signs
from compilers.quiet import hushed
from model_repo import telemetry
from model_repo.errors import BadInput, MissingExtra

if TYPE_CHECKING:
    from compilers.passes.quantize import Options

OPTIONS = {"reduce_range", "transformer", "skip", "spare"}


def quantize(proto: Any, options: Options, kept: Collection[str], work: Work) -> Any:
    """Weights S8 per output channel, symmetric; activations U8, the least to the greatest seen.

    With `transformer`, SmoothQuant (Xiao et al. 2023, arXiv:2211.10438) first moves the outliers
    of activations into the weights, and products of two activations stay in floating point.
    """
    if any(attribute.HasField("g") for node in proto.graph.node for attribute in node.attribute):
        raise BadInput(
            "quantize in mode static takes no control flow (If, Loop, Scan): choose the mode qdq, "
            "dynamic or weights"
        )
    rows = calibration.batches(work.calibration)
    nncf = _load_nncf()
    with hushed("nncf"):
        made = nncf.quantize(
            proto,
            nncf.Dataset(rows),
            subset_size=len(rows),
            target_device=nncf.TargetDevice.CPU,
            preset=nncf.QuantizationPreset.MIXED,
            model_type=nncf.ModelType.TRANSFORMER if _is_transformer(proto, options) else None,
            # What is to be kept may have been dropped by then, as a cast that does nothing.
            ignored_scope=nncf.IgnoredScope(
                names=sorted({*kept, *delicate.names(proto)}), validate=False
            ),
            advanced_parameters=_parameters(nncf, options),
        )
    return signs.unsigned(made)


def _parameters(nncf: Any, options: Options) -> Any:
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    return AdvancedQuantizationParameters(
        overflow_fix=OverflowFix.ENABLE if options.reduce_range else OverflowFix.DISABLE,
        # The library's default is the mean over samples of the least and the greatest value, then
        # a correction of biases for what that cuts off. Cutting nothing off was as good or better.
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
        disable_bias_correction=True,
    )


def _is_transformer(proto: Any, options: Options) -> bool:
    """Whether there is attention: a softmax, and products of two computed tensors."""
    if options.transformer != "auto":
        return options.transformer
    constants = {item.name for item in proto.graph.initializer}
    constants |= {node.output[0] for node in proto.graph.node if node.op_type == "Constant"}
    kinds = {node.op_type for node in proto.graph.node}
    products = (node for node in proto.graph.node if node.op_type == "MatMul")
    return "Softmax" in kinds and any(not constants & {*node.input} for node in products)


def _load_nncf() -> Any:
    telemetry.silence()
    try:
        import nncf
    except ImportError as error:
        raise MissingExtra("quantize in mode static", "nncf", "compile") from error
    return nncf
