"""Leave the graph as it is, and let targets that gain by it compute it in float16."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from compilers.contracts import Work
from compilers.graph import graphs

if TYPE_CHECKING:
    from compilers.passes.quantize import Options

OPTIONS: set[str] = set()


def quantize(proto: Any, options: Options, kept: Collection[str], work: Work) -> Any:
    """Only says so in the graph's metadata: the target retypes it, inputs and outputs excepted."""
    proto.metadata_props.add(key=graphs.PRECISION, value="fp16")
    return proto
