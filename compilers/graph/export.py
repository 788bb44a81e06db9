"""Turn a torch network into an ONNX graph whose batch axis is free."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import Any

from compilers.contracts import Work
from compilers.forms import TorchModel
from compilers.graph import graphs, tracing
from compilers.quiet import hushed
from model_repo.errors import BadInput

LIBRARIES = ("onnx", "onnxscript", "torch")
OPSET = 18
EXAMPLES = 2  # with one row the exporter would take the batch axis for a constant 1


def to_onnx(model: TorchModel, work: Work) -> Any:
    """The network as an onnx.ModelProto, tensors named as in the source; raises BadInput."""
    import torch

    inputs = work.calibration.inputs
    example = tuple(torch.from_numpy(array[:EXAMPLES].copy()) for array in inputs.values())
    batch = torch.export.Dim("batch", min=1)
    try:
        with _quiet():
            program = torch.onnx.export(
                model.module.eval(),
                example,
                dynamo=True,
                opset_version=OPSET,
                verbose=False,
                input_names=list(inputs),
                output_names=[work.source.output],
                dynamic_shapes=tuple({0: batch} for _ in example),
                external_data=False,
            )
    except Exception as error:  # the exporter wraps whatever the network's own code may raise
        raise BadInput(
            f"the network {model.network!r} of {work.source.path} cannot be exported to ONNX: "
            f"{_refusal(error, model, example)}"
        ) from error
    assert program is not None, "torch.onnx.export with dynamo=True gives a program"
    _tell_apart(program.model.graph)
    return graphs.strip(program.model_proto)


def _refusal(error: Exception, model: TorchModel, example: Any) -> str:
    operator = tracing.operator_of(error)
    if not operator:
        return tracing.refusal(error)
    import torch

    with _quiet():  # what was followed before can be followed again
        program = torch.export.export(model.module.eval(), example)
    place = tracing.place_of(operator, program)
    return f"nothing in ONNX stands for torch's {operator}{place}; take another operator"


def _tell_apart(graph: Any) -> None:
    # The exporter gives the output the source's name, even where a value inside has it already.
    taken = {value.name for value in (*graph.inputs, *graph.outputs)}
    ends = {id(value) for value in graph.outputs}
    for node in graph.all_nodes():
        for place, value in enumerate(node.outputs):
            if value.name in taken and id(value) not in ends:
                value.name = f"{value.name}_of_{node.name}_{place}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with (
        tracing.quiet(),
        hushed("torch.onnx", "onnxscript"),
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        # torch.onnx calls a function that torch.export has deprecated.
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec", FutureWarning)
        # All inputs share one batch axis, which is what is wanted.
        warnings.filterwarnings("ignore", "(?s).*axis name: batch will not be used")
        yield
