"""Whether a shelved network has something to prune, as far as its artifact tells."""

from __future__ import annotations

from importlib.util import find_spec

from compilers.sensitivity import layers
from model_repo.records import Variant
from model_repo.store import Store


def is_prunable(store: Store, variant: Variant) -> bool:
    """False for a graph of one layer: the last one, which computes the answers, stays whole.

    True where that cannot be told: for other formats, without onnx, and for graphs that name none.
    Raises Corrupt for an artifact that is not what its manifest says.
    """
    if variant.artifact.format != "onnx_graph" or find_spec("onnx") is None:
        return True
    import onnx

    return len(layers.find(onnx.load(store.artifact(variant)))) != 1
