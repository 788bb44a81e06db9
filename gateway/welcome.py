"""Five lines that tell a newcomer what to try once the gateway is up."""

from __future__ import annotations

import math

from gateway.core.catalog import Entry
from model_repo.records import Model, TensorSpec


def lines(entry: Entry | None, host: str, http: int, grpc: int, metrics: int) -> list[str]:
    """What runs where, a plain call, one with an SLO, a tritonclient snippet, the metrics."""
    url = f"http://{host}:{http}"
    if entry is None:
        return [f"farebox listens on {url}, but the repository is empty: farebox compile digits"]
    name, body = entry.model.name, _body(entry.model)
    infer = f"{url}/v2/models/{name}/infer"
    return [
        f"farebox serves {name} in {len(entry.offers)} variants: HTTP {url}, gRPC {host}:{grpc}. "
        "Try:",
        f"  curl -s {infer} -d '{body}'",
        f"  curl -s {infer} -H 'x-slo-min-accuracy: 0.97' -H 'x-slo-latency-ms: 20' -d '{body}'",
        f"  {_snippet(entry.model, host, grpc)}",
        f"  curl -s http://{host}:{metrics}/metrics | grep usd_total",
    ]


def _shape(spec: TensorSpec) -> list[int]:
    return [1 if size < 0 else size for size in spec.shape]


def _body(model: Model) -> str:
    return f'{{"inputs":[{",".join(map(_tensor, model.inputs))}]}}'


def _tensor(spec: TensorSpec) -> str:
    value = {"BYTES": '"0"', "BOOL": "false"}.get(spec.datatype, "0")
    data = ",".join([value] * math.prod(_shape(spec)))
    shape = str(_shape(spec)).replace(" ", "")
    return f'{{"name":"{spec.name}","shape":{shape},"datatype":"{spec.datatype}","data":[{data}]}}'


def _snippet(model: Model, host: str, grpc: int) -> str:
    inputs = "; ".join(
        f"i = t.InferInput('{spec.name}', {_shape(spec)}, '{spec.datatype}'); "
        f"i.set_data_from_numpy(n.zeros({_shape(spec)}, u.triton_to_np_dtype('{spec.datatype}')));"
        " inputs.append(i)"
        for spec in model.inputs
    )
    return (
        'python -c "import numpy as n, tritonclient.grpc as t, tritonclient.utils as u; '
        f"inputs = []; {inputs}; "
        f"print(t.InferenceServerClient('{host}:{grpc}').infer('{model.name}', inputs)"
        '.get_response())"'
    )
