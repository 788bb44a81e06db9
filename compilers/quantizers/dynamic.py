"""int8 whose activations get their range at each run: no calibration, more work at run time."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compilers.contracts import Work
from compilers.graph import graphs

if TYPE_CHECKING:
    from compilers.passes.quantize import Options

OPTIONS = {"per_channel", "reduce_range", "skip", "spare"}


def quantize(proto: Any, options: Options, kept: Collection[str], work: Work) -> Any:
    """Signed weights; one range for each whole activation tensor, so that rows sway each other."""
    import onnx
    from onnxruntime.quantization import quantize_dynamic

    # The library transposes weights and then trips over their recorded old shapes.
    del proto.graph.value_info[:]
    with tempfile.TemporaryDirectory() as name:
        given, done = Path(name) / "given.onnx", Path(name) / "done.onnx"
        graphs.write(proto, given)
        quantize_dynamic(
            str(given),
            str(done),
            per_channel=options.per_channel,
            reduce_range=options.reduce_range,
            nodes_to_exclude=sorted(kept),
        )
        return onnx.load(done)
