"""Send one request to a running gateway and print its answer."""

from __future__ import annotations

import argparse
import http.client
import math
import re
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from gateway.oip import json_client, json_data
from model_repo.errors import BadInput, FareboxError
from model_repo.files import read_text
from model_repo.tensors import DTYPES, Array

URL = "http://127.0.0.1:8000"
_TIMEOUT_S = 60
_OF_OBJECTS = re.compile(rb"\s*\[\s*\{")  # what tells a request from a tensor called inputs


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="its latest version is asked")
    parser.add_argument(
        "--input",
        type=Path,
        required=True,
        metavar="FILE",
        help="FILE.npz with one array per input, or FILE.json: an OIP request, or {name: values}",
    )
    parser.add_argument("--slo-latency-ms", type=float, metavar="X", help="answer within X ms")
    parser.add_argument(
        "--slo-min-accuracy", type=float, metavar="X", help="at least this accurate, 0 to 1"
    )
    parser.add_argument(
        "--slo-max-cost-usd", type=float, metavar="X", help="at most this for the request"
    )
    parser.add_argument("--variant", metavar="V", help="pin a variant instead of routing")
    parser.add_argument("--explain", action="store_true", help="show every candidate's forecast")
    parser.add_argument("--url", default=URL, metavar="U", help=f"of the gateway (default: {URL})")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")


def run(args: argparse.Namespace) -> int:
    if not args.url.startswith(("http://", "https://")):
        raise BadInput(f"--url is {args.url!r}: begin it with http:// or https://")
    url = f"{args.url.rstrip('/')}/v2/models/{urllib.parse.quote(args.model, safe='')}"
    asked = _read(args.input, url)
    length, body = json_client.encode(
        asked.inputs, {**asked.parameters, **_wishes(args)}, asked.outputs, asked.id
    )
    headers, answer = _call(f"{url}/infer", body, {"Inference-Header-Content-Length": str(length)})
    json_length = headers.get("Inference-Header-Content-Length")
    document, outputs = json_client.decode(int(json_length) if json_length else None, answer)
    print(_as_json(document, outputs) if args.json else _as_text(document, outputs))
    return 0


def _wishes(args: argparse.Namespace) -> dict[str, object]:
    """The parameters the flags ask for; raises BadInput for what JSON cannot carry."""
    wishes: dict[str, object] = {"explain": True} if args.explain else {}
    for name in ("slo_latency_ms", "slo_min_accuracy", "slo_max_cost_usd", "variant"):
        value = getattr(args, name)
        if isinstance(value, float) and not math.isfinite(value):
            raise BadInput(f"--{name.replace('_', '-')} is {value}: give a finite number")
        if value is not None:
            wishes[name] = value
    return wishes


class Asked(msgspec.Struct):
    """What an input file asks: the tensors, and in a whole OIP request the rest of it."""

    inputs: dict[str, Array]
    parameters: dict[str, object] = {}
    outputs: list[str] = []
    id: str = ""


class WireTensor(msgspec.Struct):
    """One input of an OIP request in a file."""

    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw


class WireOutput(msgspec.Struct):
    """One output asked for."""

    name: str


class WireRequest(msgspec.Struct):
    """An OIP request in a file."""

    inputs: list[WireTensor]
    parameters: dict[str, object] = {}
    outputs: list[WireOutput] = []
    id: str = ""


def _read(path: Path, url: str) -> Asked:
    if path.suffix == ".npz":
        return Asked(_cast(_read_npz(path), url))
    text = read_text(path, "the input")
    try:
        document = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        if not _OF_OBJECTS.match(bytes(document.get("inputs", b""))):
            return Asked(_named({n: msgspec.json.decode(v) for n, v in document.items()}, url))
        wire = msgspec.json.decode(text, type=WireRequest)
    except msgspec.MsgspecError as error:
        raise BadInput(
            f"the input {path} is neither an OIP request nor an object of name: values ({error})"
        ) from error
    inputs = {t.name: _tensor(t.name, bytes(t.data), t.datatype, t.shape) for t in wire.inputs}
    return Asked(inputs, wire.parameters, [output.name for output in wire.outputs], wire.id)


def _read_npz(path: Path) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise BadInput(f"the input {path} is no readable .npz file: {error}") from error


def _declared(url: str) -> dict[str, str]:
    """The datatype of each input, as the running gateway declares it."""
    known = msgspec.json.decode(_call(url, None, {})[1], type=dict[str, Any])
    return {spec["name"]: spec["datatype"] for spec in known["inputs"]}


def _cast(arrays: dict[str, Array], url: str) -> dict[str, Array]:
    """float32 as the 16-bit floats a model takes, which .npz files cannot hold."""
    datatypes = _declared(url)
    return {
        name: array.astype(DTYPES[datatypes[name]])
        if array.dtype == np.float32 and datatypes.get(name) in json_data.BINARY_ONLY
        else array
        for name, array in arrays.items()
    }


def _named(document: dict[str, Any], url: str) -> dict[str, Array]:
    """`{name: nested values}` as tensors, with the datatypes the model declares."""
    datatypes = _declared(url)
    for name in document:
        if name not in datatypes:
            raise BadInput(f"the input {name!r} is unknown: give {', '.join(datatypes)}")
    return {
        name: _tensor(name, msgspec.json.encode(values), datatypes[name], _shape(values))
        for name, values in document.items()
    }


def _tensor(name: str, data: bytes, datatype: str, shape: list[int]) -> Array:
    if datatype in json_data.BINARY_ONLY:
        return json_data.read(data, "FP32", shape, name).astype(DTYPES[datatype])
    return json_data.read(data, datatype, shape, name)


def _shape(values: Any) -> list[int]:
    shape = []
    while isinstance(values, list):
        shape.append(len(values))
        values = values[0] if values else None
    return shape


def _call(url: str, body: bytes | None, headers: dict[str, str]) -> tuple[Any, bytes]:
    try:
        request = urllib.request.Request(url, body, headers)
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            return answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        kind = BadInput if error.code < 500 else FareboxError
        raise kind(f"the server answered {error.code}: {_reason(error.read())}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise FareboxError(f"no answer from {url}: {reason}; is farebox serve running?") from error


def _reason(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body)["error"])
    except (msgspec.MsgspecError, KeyError, TypeError):
        return body[:200].decode(errors="replace")


def _as_json(document: dict[str, Any], outputs: dict[str, Array]) -> str:
    for tensor in document["outputs"]:
        tensor.pop("parameters", None)
        array = outputs[tensor["name"]]
        wide = (
            array.astype(np.float32)
            if array.dtype.itemsize == 2 and array.dtype.kind in "fV"
            else array
        )
        tensor["data"] = [
            e.decode(errors="replace") if isinstance(e, bytes) else e for e in wide.ravel().tolist()
        ]
    explain = document.get("parameters", {}).get("explain")
    if explain:
        document["parameters"]["explain"] = msgspec.json.decode(explain)
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def _as_text(document: dict[str, Any], outputs: dict[str, Array]) -> str:
    facts = document.get("parameters", {})
    lines = [f"{document['model_name']}/{document['model_version']}"]
    lines += [f"  {name}: {value}" for name, value in facts.items() if name != "explain"]
    with np.printoptions(precision=4, suppress=True, threshold=40):
        lines += [
            f"  {name} {list(array.shape)}: {' '.join(str(array).split())}"
            for name, array in outputs.items()
        ]
    if "explain" in facts:
        pretty = msgspec.json.format(facts["explain"], indent=2)
        lines += ["  explain:", *(f"    {line}" for line in pretty.splitlines())]
    return "\n".join(lines)
