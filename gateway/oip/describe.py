"""Server and model metadata and a model's Triton configuration, as plain documents."""

from __future__ import annotations

from typing import Any

from gateway.core.catalog import Entry
from model_repo.records import TensorSpec

EXTENSIONS = [
    "classification",
    "model_repository",
    "model_configuration",
    "system_shared_memory",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "trace",
    "logging",
    "cost_routing",
]
_CONFIG_TYPES = {"BYTES": "TYPE_STRING"}


def server(name: str, version: str) -> dict[str, Any]:
    """ServerMetadata; the extensions listed are those that work."""
    return {"name": name, "version": version, "extensions": EXTENSIONS}


def metadata(entry: Entry, versions: list[str]) -> dict[str, Any]:
    """ModelMetadata; the batch axis is shown as -1."""
    model = entry.model
    return {
        "name": model.name,
        "versions": versions,
        "platform": f"farebox_{entry.reference.variant.artifact.format}",
        "inputs": [_tensor(spec) for spec in model.inputs],
        "outputs": [_tensor(spec) for spec in model.outputs],
    }


def config(entry: Entry) -> dict[str, Any]:
    """ModelConfig as Triton writes it; `dims` leave the batch axis out when the model batches."""
    model = entry.model
    largest = max(offer.curve.largest for offer in entry.offers) if model.batches else 0
    skip = 1 if model.batches else 0
    document: dict[str, Any] = {
        "name": model.name,
        "platform": "",
        "backend": "farebox",
        "max_batch_size": largest,
        "input": [
            {"name": s.name, "data_type": _config_type(s), "dims": list(s.shape[skip:])}
            for s in model.inputs
        ],
        "output": [
            {"name": s.name, "data_type": _config_type(s), "dims": list(s.shape[skip:])}
            for s in model.outputs
        ],
        "model_transaction_policy": {"decoupled": False},
    }
    if model.batches:
        document["dynamic_batching"] = {}
    return document


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _config_type(spec: TensorSpec) -> str:
    return _CONFIG_TYPES.get(spec.datatype, f"TYPE_{spec.datatype}")
