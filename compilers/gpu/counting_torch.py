"""Counts the operations and bytes of a torch program at one batch size, without running it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compilers.gpu.cards import Precision
from compilers.gpu.kernels import Kernel, Load
from model_repo.records import Model
from model_repo.tensors import DTYPES


class Program:
    """A program opened once, to be counted at several sizes."""

    def __init__(self, path: Path, signature: Model, precision: Precision) -> None:
        import torch

        program = torch.export.load(str(path))
        self._module = program.module(check_guards=False).to("meta")
        self._signature = signature
        self._precision = precision
        tensors = (*program.state_dict.values(), *program.constants.values())
        self._weight_bytes = float(sum(_bytes(t) for t in tensors if torch.is_tensor(t)))

    def count(self, batch: int) -> Load:
        """What a run of `batch` rows takes: every operator that torch calls is a kernel."""
        import numpy as np
        import torch

        given = []
        for spec in self._signature.inputs:
            kind = torch.from_numpy(np.empty(0, DTYPES[spec.datatype])).dtype
            shape = [batch if size < 0 else size for size in spec.shape]
            given.append(torch.empty(shape, dtype=kind, device="meta"))
        recorder = _recorder(self._precision)
        with torch.no_grad(), recorder:
            made = self._module(*given)
        io_bytes = float(sum(_bytes(tensor) for tensor in (*given, *_tensors(made))))
        return Load(recorder.kernels, self._weight_bytes, io_bytes)


def _recorder(precision: Precision) -> Any:
    from torch.utils import _python_dispatch
    from torch.utils.flop_counter import flop_registry

    mode: Any = _python_dispatch.TorchDispatchMode  # which has no type information

    class Recorder(mode):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.kernels: list[Kernel] = []

        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            made = function(*args, **(kwargs or {}))
            if function.is_view:
                return made
            outputs = _tensors(made)
            formula = flop_registry.get(function.overloadpacket)
            if formula:
                flops = float(formula(*args, **(kwargs or {}), out_val=made))
            else:
                flops = float(sum(tensor.numel() for tensor in outputs))
            moved = sum(_bytes(tensor) for tensor in (*_tensors(args), *outputs))
            kernel = Kernel(str(function), flops, float(moved), precision, formula is None)
            self.kernels.append(kernel)
            return made

    return Recorder()


def _tensors(values: Any) -> list[Any]:
    import torch
    from torch.utils._pytree import tree_leaves

    return [leaf for leaf in tree_leaves(values) if torch.is_tensor(leaf)]


def _bytes(tensor: Any) -> int:
    return int(tensor.numel() * tensor.element_size())
