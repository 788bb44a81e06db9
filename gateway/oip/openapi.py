"""The HTTP side as an OpenAPI 3.1 document, for clients, for tests and for readers."""

from __future__ import annotations

from typing import Any

from model_repo.tensors import DTYPES

Schema = dict[str, Any]
_ANY_OBJECT: Schema = {"type": "object"}
_WORDS: Schema = {"type": "array", "items": {"type": "string"}}
_SLO_HEADERS = {
    "x-slo-latency-ms": ("answer within this many milliseconds", {"exclusiveMinimum": 0}),
    "x-slo-min-accuracy": ("only variants as accurate as this", {"minimum": 0, "maximum": 1}),
    "x-slo-max-cost-usd": ("only variants within this cost", {"exclusiveMinimum": 0}),
}
_MODELS = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
_REPOSITORY = "/v2/repository"
_NAMES = {"model", "version", "region", "repository"}
_ERRORS = {
    "400": "malformed, or it does not fit the model",
    "404": "an unknown model, version, variant or region",
    "422": "no variant could ever meet the SLO",
    "499": "the client went away",
    "500": "a defect of the server",
    "501": "understood, but not offered",
    "503": "not now; Retry-After says when to come again",
    "504": "the deadline passed",
}


def document(version: str) -> dict[str, Any]:
    """The whole document; `version` is that of the server."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Farebox",
            "version": version,
            "description": "Open Inference Protocol v2 with Triton's extensions; every request may "
            "say what accuracy, latency and cost it needs.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {path: _item(path, verbs) for path, verbs in _paths().items()},
        "components": {"schemas": _schemas(), "responses": {"Error": _error()}},
    }


def _paths() -> dict[str, dict[str, dict[str, Any]]]:
    found: dict[str, dict[str, dict[str, Any]]] = {
        "/v2": {"get": _call("the server's metadata", _ref("ServerMetadata"))},
        "/v2/health/live": {"get": _call("is it alive", _flag("live"))},
        "/v2/health/ready": {"get": _call("does it take requests", _flag("ready"))},
        "/metrics": {"get": _call("the Prometheus page", None)},
        "/openapi.json": {"get": _call("this document", _ANY_OBJECT)},
        "/v2/models/stats": {"get": _call("statistics of every model", _ref("Statistics"))},
        "/v2/logging": _settings("what is logged"),
        "/v2/trace/setting": _settings("what is traced"),
    }
    for path in _MODELS:
        found[path] = {"get": _call("a model's metadata", _ref("ModelMetadata"))}
        found[f"{path}/ready"] = {"get": _call("is the model served", _flag("ready"))}
        found[f"{path}/config"] = {"get": _call("its configuration, as Triton has it", _ANY_OBJECT)}
        found[f"{path}/stats"] = {"get": _call("its statistics", _ref("Statistics"))}
        found[f"{path}/trace/setting"] = _settings("what of it is traced")
        found[f"{path}/infer"] = {
            "post": _call("one inference", _ref("InferResponse"), _ref("InferRequest"))
        }
        for kind in ("generate", "generate_stream"):
            answer = _ANY_OBJECT if kind == "generate" else None
            found[f"{path}/{kind}"] = {
                "post": _call("one inference in plain JSON", answer, _ANY_OBJECT)
            }
    for path in (_REPOSITORY, f"{_REPOSITORY}/{{repository}}"):
        index = {"type": "object", "properties": {"ready": {"type": "boolean"}}}
        found[f"{path}/index"] = {"post": _call("what is on the shelf", _ref("Index"), index)}
        for verb in ("load", "unload"):
            found[f"{path}/models/{{model}}/{verb}"] = {
                "post": _call(f"{verb} a model", _ANY_OBJECT, _ref("Control"))
            }
    for kind in ("system", "cuda"):
        base = f"/v2/{kind}sharedmemory"
        for path in (base, f"{base}/region/{{region}}"):
            found[f"{path}/status"] = {"get": _call("regions", _ref("Regions"))}
            found[f"{path}/unregister"] = {"post": _call("forget a region", _ANY_OBJECT)}
        found[f"{base}/region/{{region}}/register"] = {
            "post": _call("register a region", _ANY_OBJECT, _ref("Region"))
        }
    return found


def _item(path: str, verbs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    named = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in sorted(_NAMES)
        if f"{{{name}}}" in path
    ]
    for verb, call in verbs.items():
        call["operationId"] = verb + path.replace("/", "_").translate({ord(c): "" for c in "{}."})
        if path.endswith(("/infer", "/generate", "/generate_stream")):
            call["parameters"] = [
                {
                    "name": name,
                    "in": "header",
                    "description": text,
                    "schema": {"type": "number", **bounds},
                }
                for name, (text, bounds) in _SLO_HEADERS.items()
            ]
    return {**verbs, **({"parameters": named} if named else {})}


def _call(summary: str, answer: Schema | None, body: Schema | None = None) -> dict[str, Any]:
    content = {"application/json": {"schema": answer}} if answer else {"text/plain": {}}
    found: dict[str, Any] = {
        "summary": summary,
        "responses": {
            "200": {"description": "done", "content": content},
            "default": {"$ref": "#/components/responses/Error"},
        },
    }
    if body:
        found["requestBody"] = {"content": {"application/json": {"schema": body}}}
    return found


def _settings(summary: str) -> dict[str, Any]:
    return {
        "get": _call(summary, _ANY_OBJECT),
        "post": _call(f"change {summary}", _ANY_OBJECT, _ANY_OBJECT),
    }


def _error() -> dict[str, Any]:
    told = "; ".join(f"{status}: {text}" for status, text in _ERRORS.items())
    return {"description": told, "content": {"application/json": {"schema": _ref("Error")}}}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _flag(name: str) -> Schema:
    return {"type": "object", "required": [name], "properties": {name: {"type": "boolean"}}}


def _object(required: list[str], **properties: Schema) -> Schema:
    return {"type": "object", "required": required, "properties": properties}


def _schemas() -> dict[str, Schema]:
    text: Schema = {"type": "string"}
    shape: Schema = {"type": "array", "items": {"type": "integer"}}
    datatype: Schema = {"type": "string", "enum": list(DTYPES)}
    data: Schema = {
        "type": "array",
        "description": "flat, or nested as the shape says; row-major",
    }
    tensor = _object(["name", "datatype", "shape"], name=text, datatype=datatype, shape=shape)
    whole = {
        **tensor,
        "properties": {**tensor["properties"], "parameters": _ANY_OBJECT, "data": data},
    }
    many = {"type": "array", "items": tensor}
    wanted = _object(["name"], name=text, parameters=_ANY_OBJECT)
    state: Schema = {"type": "string", "enum": ["READY", "UNAVAILABLE", "LOADING", "UNLOADING"]}
    model = _object(["name", "version", "state"], name=text, version=text, state=state, reason=text)
    size: Schema = {"type": "integer", "minimum": 0}
    region = _object(["key", "byte_size"], key=text, offset=size, byte_size=size)
    return {
        "Error": _object(["error"], error={"type": "string", "minLength": 1}),
        "ServerMetadata": _object(
            ["name", "version", "extensions"], name=text, version=text, extensions=_WORDS
        ),
        "ModelMetadata": _object(
            ["name", "versions", "platform", "inputs", "outputs"],
            name=text, versions=_WORDS, platform=text, inputs=many, outputs=many,
        ),
        "InferRequest": _object(
            ["inputs"],
            id=text,
            parameters=_ANY_OBJECT,
            inputs={"type": "array", "items": whole},
            outputs={"type": "array", "items": wanted},
        ),
        "InferResponse": _object(
            ["model_name", "model_version", "outputs"],
            id=text,
            model_name=text,
            model_version=text,
            parameters=_ANY_OBJECT,
            outputs={"type": "array", "items": whole},
        ),
        "Statistics": _object(
            ["model_stats"], model_stats={"type": "array", "items": _ANY_OBJECT}
        ),
        "Index": {"type": "array", "items": model},
        "Control": _object([], parameters=_ANY_OBJECT),
        "Region": region,
        "Regions": {"type": "array", "items": region},
    }  # fmt: skip
