"""What one file in `passes/` or in `targets/` offers, and what each is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from compilers.datasets import Data
from compilers.source import Source
from model_repo.records import Artifact, LatencyPoint, Metric, Model
from model_repo.records import Source as ProfileSource

if TYPE_CHECKING:
    import torch

Form = Literal["torch", "onnx", "fixed"]
"""torch: a `forms.TorchModel`; onnx: an `onnx.ModelProto`; fixed: a `fpga.fixed.FixedModel`, whole
numbers all through. torch is exported to onnx where that is asked for; nothing turns back."""


def leads_to(form: Form, wanted: Form) -> bool:
    """Whether a model of this form can be had in the other."""
    return form == wanted or (form, wanted) == ("torch", "onnx")


Recall = Callable[[tuple[Any, ...], Callable[[], Any]], Any]


@dataclass(frozen=True)
class Work:
    """What a pass may draw on besides the model; the held-out data is not among it.

    seed: for everything drawn by chance. say: tells the user what is going on.
    notes: facts the pass adds about what it did, shelved with the variant.
    recall: `(what it depends on, compute) -> compute()`, plain JSON; computed once and kept.
    metric: what the model is judged by. reference: loads the network before any pass; None where
    there is none, while the source's own network is trained.
    """

    source: Source
    train: Data
    validation: Data
    calibration: Data
    seed: int
    say: Callable[[str], None] = lambda _: None
    notes: dict[str, float | str] = field(default_factory=dict)
    recall: Recall = lambda _, compute: compute()
    metric: Metric = "accuracy"
    reference: Callable[[], torch.nn.Module] | None = None


class Pass(Protocol):
    """One transformation of a model; the file's name is what recipes call it.

    TAKES and GIVES are its forms, LIBRARIES the packages whose versions shape its result.
    Heavy libraries are imported inside `apply`. A file may also define

    * `check(options, source)`, which raises BadInput for options that cannot work with a source,
    * `check_after(options, before)`, which raises BadInput, with the reason, if the pass makes no
      sense after the passes `before` (a tuple of `PassStep`, every option given),
    both before anything is computed, and
    * `searched(source) -> Mapping[str, Sequence]`: options, by name, with the values that a search
      should try.
    """

    TAKES: Form
    GIVES: Form
    LIBRARIES: tuple[str, ...]
    Options: type[msgspec.Struct]

    def apply(self, model: Any, options: Any, work: Work) -> Any:
        """The transformed model, in the form it GIVES; `model` itself may be changed.

        Raises BadInput with what to change for a model or data the pass cannot work on.
        """


@dataclass(frozen=True)
class Format:
    """One kind of artifact that a target is given.

    forms: what it is made from: a model in one of them is taken as it is, any other is brought into
    the last. libraries: the packages whose versions shape it. suffix: what names it on the shelf,
    as in cpu-int8-SUFFIX; "" for the one that goes without.
    """

    forms: tuple[Form, ...]
    libraries: tuple[str, ...]
    suffix: str = ""


@dataclass(frozen=True)
class Job:
    """What a target is asked for.

    options: the target's own. signature: names, datatypes and shapes, axis 0 that of the batch.
    batch_sizes: those to be estimated; an artifact takes any. seed: for what is drawn by chance.
    say: tells the user what is going on.
    """

    options: Any
    signature: Model
    batch_sizes: tuple[int, ...]
    seed: int
    say: Callable[[str], None] = lambda _: None


class Estimate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How fast the target's own hardware would be, where this machine has none.

    latency: a point for each batch size, no runs; every time of it is the upper end of what is
    likely, device_low_s to device_high_s the whole of it. source: emulated if the design itself
    was run, bit for bit, else estimated. host: the hardware, and who says so. memory_bytes: on it.
    notes: shelved with the variant. hardware: as in a Profile.
    """

    latency: tuple[LatencyPoint, ...]
    source: ProfileSource
    host: str
    memory_bytes: int
    versions: dict[str, str] = {}
    notes: dict[str, float | str] = {}
    hardware: str = ""


class Target(Protocol):
    """One class of hardware, by the name TARGET.

    FORMATS holds what it can be given, each named like the runtime that opens it; where there are
    several, what was measured says which of them is worth keeping. A file may also define

    `check(options)`: raises BadInput for options that make no sense, before anything is computed.
    `formats(options) -> tuple[str, ...]`: those of FORMATS that are made with these options.
    `foresee(network, passes, options, work)`: raises Unsupported for what could not be held
    whatever is learned, before the passes, which may take minutes, are applied to the network.
    `finish(path, folder, job) -> Artifact`: a second step, kept apart from the first since it takes
    long. What `lower` wrote lies at `path`, what is to take its place goes into `folder`.
    `tolerance(artifact_format, options) -> float`: how far answers may be from the model's, as a
    share of the largest output, where the artifact computes in fewer bits than the model says.
    """

    TARGET: str
    FORMATS: Mapping[str, Format]
    Options: type[msgspec.Struct]

    def lower(self, model: Any, artifact_format: str, folder: Path, job: Job) -> Artifact:
        """Write the model into `folder` in one of FORMATS: same model, same bytes.

        Raises Unsupported, with the reason, for a model that this format cannot hold or that this
        machine cannot run, and BadInput for a broken one.
        """

    def estimate(self, path: Path, artifact_format: str, job: Job) -> Estimate:
        """Asked where the artifact's runtime does not run on the target's own hardware.

        Raises MissingExtra if what could tell is not installed.
        """
