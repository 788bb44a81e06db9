"""Builds an engine of an ONNX file: TensorRT and TensorRT for RTX share these calls."""

from __future__ import annotations

import re
from typing import Any

from model_repo.errors import Unsupported

OPTIMAL, LARGEST = 8, 128
"""Batch sizes: the one that kernels are chosen for, and the largest that an engine takes."""
_CODE_PLACE = re.compile(r"\s*In \w+ at \S+|^I?[A-Z]\w+::\w+: Error Code \d+: ")
"""What it says of its own code, which nobody but its makers can look up."""


def logger(library: Any) -> Any:
    """Prints nothing, and keeps what went wrong in `errors`."""
    ilogger: Any = library.ILogger

    class Keeping(ilogger):  # type: ignore[misc]
        def __init__(self) -> None:
            ilogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, text: str) -> None:
            if severity in (ilogger.ERROR, ilogger.INTERNAL_ERROR):
                self.errors.append(_CODE_PLACE.sub("", " ".join(text.split())))

    return Keeping()


def build(library: Any, data: bytes, capability: Any = None) -> bytes:
    """The engine of an ONNX file, for the GPU of this machine or for another compute capability.

    Each tensor keeps the type that the file gives it: the network is strongly typed. Raises
    Unsupported, naming the node, for what the parser refuses, and if nothing can be built.
    """
    log = logger(library)
    builder = library.Builder(log)
    network = read(library, builder, data, log)
    settings = builder.create_builder_config()
    settings.add_optimization_profile(_sizes(builder, network))
    if capability is not None:
        settings.num_compute_capabilities = 1
        settings.set_compute_capability(capability, 0)
    built = builder.build_serialized_network(network, settings)
    if built is None:
        reason = (log.errors or ["it gives no reason"])[0][:300]
        raise Unsupported(f"{_name(library)} built no engine of the model: {reason}")
    return bytes(built)


def read(library: Any, builder: Any, data: bytes, log: Any) -> Any:
    """The network of an ONNX file; raises Unsupported naming the node that the parser refuses."""
    flag = library.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    network = builder.create_network(1 << int(flag))
    parser = library.OnnxParser(network, log)
    if parser.parse(data):
        return network
    error = parser.get_error(0)
    reason = " ".join(error.desc().split())[:200]
    if "Plugin not found" in reason:  # what it looks for last, for a name that it does not know
        reason = "it has no such operator"
    raise Unsupported(
        f"{_name(library)} does not take the node {error.node_name()!r} "
        f"({error.node_operator()}): {reason}"
    )


def _sizes(builder: Any, network: Any) -> Any:
    """Batches from 1 to LARGEST; raises Unsupported for any other free axis."""
    profile = builder.create_optimization_profile()
    for place in range(network.num_inputs):
        tensor = network.get_input(place)
        shape = tuple(tensor.shape)
        if -1 in shape[1:]:
            raise Unsupported(
                f"the input {tensor.name!r} {list(shape)} has a free axis besides the batch, and "
                "engines are built for fixed ones: give that axis one size"
            )
        if shape[:1] == (-1,):
            profile.set_shape(tensor.name, *((n, *shape[1:]) for n in (1, OPTIMAL, LARGEST)))
    return profile


def _name(library: Any) -> str:
    return f"{library.__name__} {library.__version__}"
