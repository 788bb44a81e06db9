"""Run a foreign model to learn what its file leaves open: what it takes, whether it batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from compilers import made_up
from compilers.datasets import Data
from compilers.foreign import proof
from compilers.foreign.signature import Port, Signature
from compilers.profiling import calls, scoring
from model_repo import runtime
from model_repo.errors import BadInput, Expired
from model_repo.records import Metric, Model, TensorSpec
from model_repo.tensors import Array

FORMAT = "onnx_graph"
LIMIT_S = 10.0
PROOFS = 4


@dataclass(frozen=True)
class Settled:
    """The model as it is served, data that it accepts, and what the user should know."""

    model: Model
    data: Data
    remarks: tuple[str, ...]


def settle(signature: Signature, name: str, version: str, data: Data | None, seed: int) -> Settled:
    """Find inputs that work, prove or disprove batching, choose what fidelity is judged on.

    Each run is given LIMIT_S seconds. Raises BadInput if no made-up input works, or the data given
    does not, and Corrupt if the file cannot be opened.
    """
    draft = _model(signature, name, version, signature.outputs, batches=False)
    session = runtime.load(FORMAT).open_session(signature.path, draft)

    def run(inputs: proof.Call) -> proof.Call:
        return session.run(inputs, LIMIT_S)[0]

    try:
        size = None if data else _working_size(run, signature)
        trial = data.take(slice(0, 8)) if data else _made(signature, size or 1, seed)
        seen = run(calls.feed(draft, trial, np.arange(calls.rows_per_call(draft, trial) or 1)))
        outputs = tuple(_observe(port, seen[port.name]) for port in signature.outputs)
        why = _why_alone(run, replace(signature, outputs=outputs), data, size or 1, seed)
    finally:
        session.close()
    model = _model(signature, name, version, outputs, batches=why is None, labels=_labels(data))
    if data and data.labels is not None and seen[model.scored_output].ndim > 1:
        scoring.answers(seen[model.scored_output], data.labels, model)
    remarks = [*signature.remarks, *_unjudged(model, outputs)] if data else [*signature.remarks]
    if data is None:
        rng = np.random.default_rng(seed)
        data = made_up.data(signature.inputs, size or 1, rng, batches=model.batches)
    if why is not None:
        remarks.append(f"it is served one request at a time: {why}")
    return Settled(model, data, tuple(remarks))


def _unjudged(model: Model, outputs: tuple[Port, ...]) -> Iterator[str]:
    """What to say where the model answers in several floats: one figure covers one of them."""
    floats = [port.name for port in outputs if port.datatype in proof.TOLERANCES]
    others = [repr(name) for name in floats if name != model.scored_output]
    if len(floats) > 1:
        yield (
            f"variants are judged by the {model.metric} of the output {model.scored_output!r} "
            f"alone: nothing tells how good they are at {', '.join(others)}"
        )


def _working_size(run: proof.Run, signature: Signature) -> int:
    """The first size of the free axes with which a run succeeds."""
    reason, slow = "", float("inf")
    for size in made_up.SIZES:
        if size >= slow:
            continue  # a smaller call was too slow already
        try:
            run(made_up.draw(signature.inputs, size, np.random.default_rng(0)))
            return size
        except Expired as error:
            reason, slow = str(error), size
        except BadInput as error:
            reason = str(error)
    raise BadInput(f"no made-up input works ({reason}): give real ones with --data FILE.npz")


def _made(signature: Signature, size: int, seed: int) -> Data:
    rng = np.random.default_rng(seed)
    inputs = made_up.draw(signature.inputs, size, rng)
    return Data({name: array[np.newaxis] for name, array in inputs.items()})


def _why_alone(
    run: proof.Run, signature: Signature, data: Data | None, size: int, seed: int
) -> str | None:
    """Why the model does not batch; None once runs have proved that it does."""
    if why := proof.obstacle(signature.inputs, signature.outputs):
        return why
    if data and any(calls.is_whole(data.inputs[p.name], p.shape or ()) for p in signature.inputs):
        return "each row of the data given is a whole request"
    return proof.difference(run, pairs(signature, data, size, seed), signature.outputs)


def pairs(
    signature: Signature, data: Data | None, size: int, seed: int
) -> Iterator[tuple[dict[str, Array], dict[str, Array]]]:
    """One row and one row, then one row and two, and so on: each pair from its own seed."""
    for turn in range(PROOFS):
        rng = np.random.default_rng([seed, turn])
        if data is None:
            yield (
                made_up.draw(signature.inputs, size, rng, 1),
                made_up.draw(signature.inputs, size, rng, 1 + turn % 2),
            )
        else:
            rows = rng.integers(len(data), size=2 + turn % 2)
            a, b = data.take(rows[:1]).inputs, data.take(rows[1:]).inputs
            yield dict(a), dict(b)


def _observe(port: Port, seen: Array) -> Port:
    """The port with the rank it really has; a declared size that it breaks is free."""
    if port.axes is None or len(port.axes) != seen.ndim:
        return replace(port, axes=(None,) * seen.ndim)
    axes = tuple(
        None if isinstance(axis, int) and axis != size else axis
        for axis, size in zip(port.axes, seen.shape, strict=True)
    )
    return replace(port, axes=axes)


def _labels(data: Data | None) -> Array | None:
    return data.labels if data else None


def _model(
    signature: Signature,
    name: str,
    version: str,
    outputs: tuple[Port, ...],
    *,
    batches: bool,
    labels: Array | None = None,
) -> Model:
    metric, scored = choose_metric(outputs, labels)
    return Model(
        name,
        version,
        tuple(_spec(port) for port in signature.inputs),
        tuple(_spec(port) for port in outputs),
        batches,
        metric,
        scored,
        signature.classes.get(scored, ()),
    )


def _spec(port: Port) -> TensorSpec:
    return TensorSpec(port.name, port.datatype, port.shape or ())


def choose_metric(outputs: tuple[Port, ...], labels: Array | None) -> tuple[Metric, str]:
    """How the model is judged, and on which output.

    Labels ask for accuracy: of the output that names a class as the labels do, else of the scores.
    Without labels it is agreement where one output is scores [n, k], or no output is a float of
    more than one number a row; else the cosine of the first that is.
    """
    floats = [port for port in outputs if port.datatype in proof.TOLERANCES]
    scores = [port for port in floats if len(port.axes or ()) == 2 and (port.axes or ())[1] != 1]
    wide = [p for p in floats if p.axes is None or any(axis != 1 for axis in p.axes[1:])]
    others = [port for port in outputs if port not in floats]
    if labels is not None:
        text = labels.dtype.kind in "OUS"
        named = [p for p in others if len(p.axes or ()) <= 2 and (p.datatype == "BYTES") == text]
        return "accuracy", (named or scores or list(outputs))[0].name
    if len(scores) == 1 or (others and not wide):
        return "agreement", (scores or others)[0].name
    return "cosine", (wide or floats)[0].name
