"""Five lines that tell a newcomer what to try once the gateway is up."""

from __future__ import annotations

from gateway.core.catalog import Entry
from model_repo.records import Model


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


def _shape(model: Model) -> list[int]:
    return [1 if size < 0 else size for size in model.inputs[0].shape]


def _body(model: Model) -> str:
    spec = model.inputs[0]
    size = 1
    for length in _shape(model):
        size *= length
    value = '"0"' if spec.datatype == "BYTES" else "false" if spec.datatype == "BOOL" else "0"
    data = ",".join([value] * size)
    return (
        f'{{"inputs":[{{"name":"{spec.name}","shape":{_shape(model)},'
        f'"datatype":"{spec.datatype}","data":[{data}]}}]}}'
    ).replace(" ", "")


def _snippet(model: Model, host: str, grpc: int) -> str:
    spec, shape = model.inputs[0], _shape(model)
    return (
        'python -c "import numpy as n, tritonclient.grpc as t, tritonclient.utils as u; '
        f"i = t.InferInput('{spec.name}', {shape}, '{spec.datatype}'); "
        f"i.set_data_from_numpy(n.zeros({shape}, u.triton_to_np_dtype('{spec.datatype}'))); "
        f"print(t.InferenceServerClient('{host}:{grpc}').infer('{model.name}', [i])"
        '.get_response())"'
    )
