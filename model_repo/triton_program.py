"""Runs a torch.export program in Triton's Python backend; copied whole as a model's model.py."""

from __future__ import annotations

import importlib
import json
import os
from typing import Any

import torch

PROGRAM = "model.pt2"


class TritonPythonModel:
    """What the Python backend looks for; it joins the requests of a batch and cuts the answers."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the program onto the instance's GPU."""
        from torch.export.passes import move_to_device_pass

        folder = os.path.join(args["model_repository"], args["model_version"])
        program = torch.export.load(os.path.join(folder, PROGRAM))
        is_gpu = args["model_instance_kind"] == "GPU"
        self._device = f"cuda:{args['model_instance_device_id']}" if is_gpu else "cpu"
        if is_gpu:
            program = move_to_device_pass(program, self._device)
        self._compute = program.module(check_guards=False)
        config = json.loads(args["model_config"])
        self._inputs = [port["name"] for port in config["input"]]
        self._outputs = [port["name"] for port in config["output"]]

    def execute(self, requests: list[Any]) -> list[Any]:
        """One answer for each request, in their order."""
        backend: Any = importlib.import_module("triton_python_backend_utils")
        given = [
            [self._tensor(backend, request, name) for name in self._inputs] for request in requests
        ]
        with torch.inference_mode():
            made = self._compute(
                *(torch.cat(parts).to(self._device) for parts in zip(*given, strict=True))
            )
        values = made if isinstance(made, (tuple, list)) else (made,)
        rows = [len(parts[0]) for parts in given]
        cut = [value.cpu().split(rows) for value in values]
        return [
            backend.InferenceResponse(
                output_tensors=[
                    backend.Tensor(name, parts[place].numpy())
                    for name, parts in zip(self._outputs, cut, strict=True)
                ]
            )
            for place in range(len(requests))
        ]

    @staticmethod
    def _tensor(backend: Any, request: Any, name: str) -> torch.Tensor:
        return torch.from_numpy(backend.get_input_tensor_by_name(request, name).as_numpy())
