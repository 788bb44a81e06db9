"""Leave the graph as it is, and let runtimes that can compute it in bfloat16."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from compilers.contracts import Work
from compilers.graph import graphs

if TYPE_CHECKING:
    from compilers.passes.quantize import Options

OPTIONS: set[str] = set()


def quantize(proto: Any, options: Options, kept: Collection[str], work: Work) -> Any:
    """Only says so in the graph's metadata: which operators round is the runtime's choice."""
    proto.metadata_props.add(key=graphs.PRECISION, value="bf16")
    return proto
