"""Runs batches through torch tensors on a GPU, or on the CPU for their answers alone."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_repo import cuda
from model_repo.errors import BadInput, Expired, Unavailable
from model_repo.records import Model
from model_repo.tensors import Array

if TYPE_CHECKING:
    import torch

Tensors = Mapping[str, "torch.Tensor"]
Prepare = Callable[[Tensors], Callable[[], Tensors]]
"""Given inputs on the device, which stay where they are: what computes the outputs of them."""
FRAMES = 64
"""Shapes of inputs that are kept ready; the one that was not used for longest goes first."""
POLL_S = 20e-6


@dataclass
class _Frame:
    """What one shape of inputs runs in: buffers that stay in place, and a step over them."""

    host: dict[str, torch.Tensor]
    device: dict[str, torch.Tensor]
    step: Callable[[], Tensors]


class TorchSession:
    """One model on one device; runs wait for each other, since one GPU is one device.

    Copies go through pinned memory. Device time is what CUDA events say went by between the first
    copy in and the last copy out; on a CPU it is wall time, and no price is made of it.
    """

    def __init__(self, prepare: Prepare, model: Model, place: str) -> None:
        import torch

        self._torch: Any = torch
        self._prepare: Prepare | None = prepare
        self._inputs = [spec.name for spec in model.inputs]
        self._stream = self._torch.cuda.Stream() if place == "cuda" else None
        self._frames: OrderedDict[tuple[Any, ...], _Frame] = OrderedDict()
        self._left: Any = None  # where the stream is after a run that nobody waited for

    def run(
        self, inputs: Mapping[str, Array], limit_s: float | None = None
    ) -> tuple[dict[str, Array], int]:
        due = None if limit_s is None else time.monotonic() + limit_s
        if inputs.keys() != {*self._inputs}:
            raise BadInput(
                "the model refused these inputs: it takes "
                f"{self._inputs}, and {list(inputs)} were given"
            )
        try:
            with cuda.turn(limit_s), self._torch.inference_mode():
                return self._run(inputs, due)
        except Expired as error:
            raise Expired(f"the run took longer than {limit_s} s") from error
        except self._torch.OutOfMemoryError as error:
            raise Unavailable(f"the GPU is out of memory: {_told(error)}") from error
        except (RuntimeError, TypeError, ValueError, AssertionError) as error:
            raise BadInput(f"the model refused these inputs: {_told(error)}") from error

    def _run(self, inputs: Mapping[str, Array], due: float | None) -> tuple[dict[str, Array], int]:
        if self._left is not None:  # its buffers are still in use
            self._wait(self._left, due)
            self._left = None
        torch = self._torch
        with torch.cuda.stream(self._stream) if self._stream else nullcontext():
            frame = self._frame(inputs)
            begin = self._mark()
            for name in self._inputs:
                frame.host[name].copy_(torch.from_numpy(_writable(inputs[name])))
                if self._stream:
                    frame.device[name].copy_(frame.host[name], non_blocking=True)
            made = {name: self._copied_out(tensor) for name, tensor in frame.step().items()}
            end = self._mark()
        self._wait(end, due)
        outputs = {name: tensor.numpy().copy() for name, tensor in made.items()}
        return outputs, self._between(begin, end)

    def _frame(self, inputs: Mapping[str, Array]) -> _Frame:
        key = tuple((inputs[name].shape, inputs[name].dtype.str) for name in self._inputs)
        if key not in self._frames:
            assert self._prepare, "a session that was closed is not used again"
            host = {name: self._buffer(inputs[name]) for name in self._inputs}
            device = {n: t.to("cuda") if self._stream else t for n, t in host.items()}
            self._frames[key] = _Frame(host, device, self._prepare(device))
            while len(self._frames) > FRAMES:
                self._frames.popitem(last=False)
        self._frames.move_to_end(key)
        return self._frames[key]

    def _buffer(self, array: Array) -> torch.Tensor:
        like: torch.Tensor = self._torch.from_numpy(_writable(array))
        room: torch.Tensor = self._torch.empty_like(like, pin_memory=self._stream is not None)
        return room.copy_(like)

    def _copied_out(self, tensor: torch.Tensor) -> torch.Tensor:
        if not self._stream:
            return tensor
        out: torch.Tensor = self._torch.empty_like(tensor, device="cpu", pin_memory=True)
        return out.copy_(tensor, non_blocking=True)

    def _mark(self) -> Any:
        if not self._stream:
            return time.monotonic_ns()
        event = self._torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _wait(self, mark: Any, due: float | None) -> None:
        """Until the device is there; raises Expired once it is due, and lets the run go on."""
        if due is None:
            if self._stream:
                mark.synchronize()
            return
        while self._stream and not mark.query():
            if time.monotonic() > due:
                self._left = mark
                raise Expired("not done in time")
            time.sleep(POLL_S)
        if time.monotonic() > due:
            raise Expired("not done in time")

    def _between(self, begin: Any, end: Any) -> int:
        return int(begin.elapsed_time(end) * 1e6) if self._stream else int(end - begin)

    def close(self) -> None:
        """The memory goes with the last reference to it."""
        self._frames.clear()
        self._prepare = None


def _writable(array: Array) -> Array:
    """The array in one piece; torch warns of what it may not write to, though it only reads."""
    import numpy as np

    return np.require(array, requirements=["C", "W"])


def _told(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
