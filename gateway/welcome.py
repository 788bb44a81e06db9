"""A few lines that tell a newcomer what to try once the gateway is up."""

from __future__ import annotations

import math
from pathlib import Path

from gateway.core.catalog import Entry, Offer
from gateway.oip.json_data import BINARY_ONLY
from model_repo.records import Model, TensorSpec


def lines(
    entry: Entry | None,
    host: str,
    http: int,
    grpc: int,
    metrics: int,
    example: Path | None = None,
    python: str = "python",
) -> list[str]:
    """What runs where, a plain call, one with an SLO, one pinned to each target that another
    device stands in for, a tritonclient snippet, the metrics.

    example: a file with a request to send; made-up zeros without it. python: one that has
    tritonclient.
    """
    url = f"http://{host}:{http}"
    if entry is None:
        return [f"farebox listens on {url}, but the repository is empty: farebox compile digits"]
    name = entry.model.name
    body = f"@{example}" if example else f"'{_body(entry.model)}'"
    code = _snippet_of(example) if example else _snippet(entry.model)
    infer = f"{url}/v2/models/{name}/infer"
    calls = [
        f"  curl -s {infer} -d {body}",
        f"  curl -s {infer} -H 'x-slo-min-accuracy: 0.97' -H 'x-slo-latency-ms: 20' -d {body}",
        *(f"  curl -s {infer} -H 'x-variant: {each}' -d {body}" for each in _stand_ins(entry)),
    ]
    if not example and any(spec.datatype in BINARY_ONLY for spec in entry.model.inputs):
        calls = []  # JSON cannot carry such inputs
    return [
        f"farebox serves {name} in {len(entry.offers)} variants: HTTP {url}, gRPC {host}:{grpc}. "
        "Try:",
        *calls,
        f'  {python} -c "import json, numpy as n, tritonclient.grpc as t, tritonclient.utils as u; '
        f"{code}; "
        f"print(t.InferenceServerClient('{host}:{grpc}').infer('{name}', inputs).get_response())\"",
        f"  curl -s http://{host}:{metrics}/metrics | grep usd_total",
    ]


def _stand_ins(entry: Entry) -> list[str]:
    """The most accurate variant for each target that this machine only stands in for."""
    found: dict[str, Offer] = {}
    for offer in filter(lambda each: each.stands_in, entry.offers):
        best = found.setdefault(offer.variant.target, offer)
        if offer.variant.profile.accuracy > best.variant.profile.accuracy:
            found[offer.variant.target] = offer
    return [offer.key.variant for offer in found.values()]


def _snippet_of(example: Path) -> str:
    return (
        f"inputs = [t.InferInput(e['name'], e['shape'], e['datatype']).set_data_from_numpy("
        "n.array(e['data'], u.triton_to_np_dtype(e['datatype'])).reshape(e['shape'])) "
        f"for e in json.load(open('{example}'))['inputs']]"
    )


def _shape(spec: TensorSpec) -> list[int]:
    return [1 if size < 0 else size for size in spec.shape]


def _body(model: Model) -> str:
    return f'{{"inputs":[{",".join(map(_tensor, model.inputs))}]}}'


def _tensor(spec: TensorSpec) -> str:
    value = {"BYTES": '"0"', "BOOL": "false"}.get(spec.datatype, "0")
    data = ",".join([value] * math.prod(_shape(spec)))
    shape = str(_shape(spec)).replace(" ", "")
    return f'{{"name":"{spec.name}","shape":{shape},"datatype":"{spec.datatype}","data":[{data}]}}'


def _snippet(model: Model) -> str:
    made = [
        f"t.InferInput('{spec.name}', {_shape(spec)}, '{spec.datatype}').set_data_from_numpy("
        f"n.zeros({_shape(spec)}, u.triton_to_np_dtype('{spec.datatype}')))"
        for spec in model.inputs
    ]
    return f"inputs = [{', '.join(made)}]"
