"""Retypes an ONNX graph to float16, its inputs and outputs excepted."""

from __future__ import annotations

from typing import Any

from compilers.graph import graphs, opsets

OPSET = 19
"""The first whose QuantizeLinear and DequantizeLinear take scales in float16."""
WIDE = [
    *("CumSum", "Exp", "InstanceNormalization", "LayerNormalization", "LpNormalization", "Pow"),
    *("ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMean", "ReduceProd", "ReduceSum"),
    *("ReduceSumSquare", "RMSNormalization"),
]
"""Sums and powers, which soon pass 65504, the largest float16: they stay in float32, as TensorRT's
documentation asks of normalizations. They cost little next to the products around them."""


def to_fp16(proto: Any) -> Any:
    """A copy of an onnx.ModelProto that computes in float16 between float32 inputs and outputs."""
    from onnxruntime.transformers import float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    own = type(proto)()
    own.CopyFrom(proto)
    own = opsets.raised(own, OPSET, "float16 scales need")
    blocked = [*float16.DEFAULT_OP_BLOCK_LIST, *WIDE]
    # The types that were inferred for float32 would contradict what is written now.
    del own.graph.value_info[:]
    made = float16.convert_float_to_float16(own, keep_io_types=True, op_block_list=blocked)
    # The casts were put at the end, and ONNX wants nodes in the order of their use.
    OnnxModel(made).topological_sort(is_deterministic=True)
    del made.metadata_props[:]  # its tensors say it themselves now
    return graphs.strip(made)
