"""Runs OpenVINO's intermediate representation on the CPU, one thread a run.

The artifact is one file, so that one SHA-256 vouches for it: an uncompressed zip of `model.xml`,
the graph, and `model.bin`, the weights. Unzipped, they are what every OpenVINO tool reads.
"""

from __future__ import annotations

import math
import time
import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

import ml_dtypes
import numpy as np

from model_repo import telemetry
from model_repo.errors import BadInput, Corrupt, Expired, MissingExtra, Unavailable
from model_repo.lending import Lending
from model_repo.openvino_tensors import refused, tensor_maker
from model_repo.records import Model, TensorSpec
from model_repo.tensors import Array

LIBRARIES = ("openvino",)
COMPILES_SIZES = True
GRAPH, WEIGHTS = "model.xml", "model.bin"
PRECISION = ["farebox", "precision"]
"""Where a graph says, in its rt_info, that it may be computed in bf16; else it is in fp32."""
_LOOPS = {"If", "Loop"}


class OpenvinoSession:
    """One compiled model for each slot: runs of one and the same wait for each other.

    With a single stream OpenVINO computes in the calling thread, so CPU time is device time.
    """

    def __init__(self, compiled: Sequence[Any], model: Model, has_loops: bool) -> None:
        first = compiled[0]
        requests = [each.create_infer_request() for each in compiled]
        self._inputs = _places(first.inputs, model.inputs)
        self._convert = {spec.name: tensor_maker(load_openvino(), spec) for spec in model.inputs}
        self._outputs = _places(first.outputs, model.outputs)
        self._bf16 = [spec.name for spec in model.outputs if spec.datatype == "BF16"]
        self._has_loops = has_loops
        self._seen: set[tuple[Any, ...]] = set()
        self._requests = Lending(requests)

    def run(
        self, inputs: Mapping[str, Array], limit_s: float | None = None
    ) -> tuple[dict[str, Array], int]:
        start = time.thread_time_ns()
        if inputs.keys() != self._inputs.keys():
            raise refused(f"it takes {list(self._inputs)}, and {list(inputs)} were given")
        if limit_s is not None:
            shapes = tuple(inputs[name].shape for name in self._inputs)
            # Without loops, what has these shapes takes as long as what had them before.
            if self._has_loops or shapes not in self._seen:
                found = self._run_watched(inputs, limit_s)
                self._seen.add(shapes)
                return found
        request = self._requests.take()
        try:
            self._feed(request, inputs)
            outputs = self._named(request.infer().to_tuple())
        except Exception as error:  # OpenVINO's errors share no parent but Exception
            raise _translated(error) from error
        finally:
            self._requests.give(request)
        return outputs, time.thread_time_ns() - start

    def _run_watched(
        self, inputs: Mapping[str, Array], limit_s: float
    ) -> tuple[dict[str, Array], int]:
        """A run in OpenVINO's own thread, the only kind that it cancels: wall is device time."""
        start = time.monotonic()
        request = self._requests.take(limit_s)
        try:
            self._feed(request, inputs)
            request.start_async()
            left_s = max(0.0, start + limit_s - time.monotonic())
            is_done = request.wait_for(math.ceil(left_s * 1e3))
            if is_done:
                request.wait()  # raises what went wrong
                outputs = self._named([np.array(each.data) for each in request.output_tensors])
        except Exception as error:  # OpenVINO's errors share no parent but Exception
            self._requests.give(request)
            raise _translated(error) from error
        if not is_done:
            # It ends at the next operator; inside of an endless loop there is none.
            request.cancel()
            Thread(target=self._give_once_ended, args=(request, inputs), daemon=True).start()
            raise Expired(f"the run took longer than {limit_s} s")
        self._requests.give(request)
        return outputs, int((time.monotonic() - start) * 1e9)

    def _give_once_ended(self, request: Any, inputs: Mapping[str, Array]) -> None:
        """Keep what the run reads until it is over."""
        try:
            request.wait()
        except RuntimeError:  # it says that it was cancelled, as it was
            pass
        finally:
            del inputs
            self._requests.give(request)

    def _feed(self, request: Any, inputs: Mapping[str, Array]) -> None:
        for name, place in self._inputs.items():
            request.set_input_tensor(place, self._convert[name](inputs[name]))

    def _named(self, values: Sequence[Array]) -> dict[str, Array]:
        found = {name: values[place] for name, place in self._outputs.items()}
        for name in self._bf16:  # given as the same bits in float16
            found[name] = found[name].view(ml_dtypes.bfloat16)
        return found

    def close(self) -> None:
        """The memory goes with the last reference to it."""
        del self._requests


def _places(ports: Sequence[Any], specs: Sequence[TensorSpec]) -> dict[str, int]:
    """The number of each tensor; raises Corrupt for one that the graph lacks."""
    found = {name: place for place, port in enumerate(ports) for name in port.names}
    for spec in specs:
        if spec.name not in found:
            raise Corrupt(f"the graph has no tensor {spec.name!r}: compile the variant again")
    return {spec.name: found[spec.name] for spec in specs}


def _translated(error: Exception) -> Exception:
    if isinstance(error, BadInput):
        return error
    reason = told(error)
    if isinstance(error, MemoryError) or "alloc" in reason:
        return Unavailable(f"the runtime is out of memory: {reason}")
    return refused(reason)


def told(error: Exception) -> str:
    """What OpenVINO says, without the places in its code that it went through, a line each."""
    lines = [line.strip() for line in str(error).splitlines()]
    found = [line for line in lines if line and not line.startswith(("Exception from ", "Check '"))]
    return " ".join(found) or " ".join(str(error).split())


def open_session(path: Path, model: Model, slots: int = 1) -> OpenvinoSession:
    """Open the zip with one thread a run, in fp32 unless the graph says bf16.

    Raises BadInput for tensors of strings, and for bf16 on a CPU that has no instructions for it.
    """
    check()
    for spec in (*model.inputs, *model.outputs):
        if spec.datatype == "BYTES":
            raise BadInput(f"tensor {spec.name!r} holds strings, which OpenVINO does not take")
    try:
        with zipfile.ZipFile(path) as file:
            graph = _core().read_model(file.read(GRAPH), file.read(WEIGHTS))
        options = _options(graph)
        compiled = [_core().compile_model(graph, "CPU", options) for _ in range(slots)]
    except BadInput:
        raise
    except Exception as error:  # the zip's and OpenVINO's errors share no parent but Exception
        raise Corrupt(f"{path} is not usable in OpenVINO: {told(error)}") from error
    has_loops = any(node.get_type_name() in _LOOPS for node in graph.get_ops())
    return OpenvinoSession(compiled, model, has_loops)


def _options(graph: Any) -> dict[str, Any]:
    is_bf16 = graph.has_rt_info(PRECISION)
    if is_bf16 and not has_bf16():
        raise BadInput(
            "the variant computes in bf16, for which this CPU has no instructions: serve another "
            "variant here, or take a CPU with avx512_bf16 or amx_bf16"
        )
    return {
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": "1",
        "ENABLE_CPU_PINNING": False,
        # Left to itself it computes in bf16 wherever the CPU can.
        "INFERENCE_PRECISION_HINT": "bf16" if is_bf16 else "f32",
    }


def has_bf16() -> bool:
    """Whether this CPU has instructions for bf16."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@cache
def _core() -> Any:
    return load_openvino().Core()


@cache
def load_openvino() -> Any:
    """The package, silenced."""
    telemetry.silence()
    import openvino

    return openvino


def device() -> str:
    """CPUs."""
    return "cpu"


def check() -> None:
    """Raise MissingExtra unless OpenVINO is installed."""
    if find_spec("openvino") is None:
        raise MissingExtra("running OpenVINO's graphs", "openvino", "openvino")
