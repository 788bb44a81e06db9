"""What one file in `passes/` or in `targets/` offers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from compilers.datasets import Data
from compilers.source import Source
from model_repo.records import Artifact, Metric

if TYPE_CHECKING:
    import torch

Form = Literal["torch", "onnx"]
"""torch: a `forms.TorchModel`; onnx: an `onnx.ModelProto`. Nothing turns onnx back to torch."""


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

    FORM is what it takes and gives, LIBRARIES the packages whose versions shape its result.
    Heavy libraries are imported inside `apply`. A file may also define

    * `check(options, source)`, which raises BadInput for options that cannot work with a source,
    * `check_after(options, before)`, which raises BadInput, with the reason, if the pass makes no
      sense after the passes `before` (a tuple of `PassStep`, every option given),
    both before anything is computed, and
    * `searched(source) -> Mapping[str, Sequence]`: options, by name, with the values that a search
      should try.
    """

    FORM: Form
    LIBRARIES: tuple[str, ...]
    Options: type[msgspec.Struct]

    def apply(self, model: Any, options: Any, work: Work) -> Any:
        """The transformed model, in the same form; `model` itself may be changed.

        Raises BadInput with what to change for a model or data the pass cannot work on.
        """


@dataclass(frozen=True)
class Format:
    """One kind of artifact that a target is given.

    form: what it is made from. libraries: the packages whose versions shape it. suffix: what names
    it on the shelf, as in cpu-int8-SUFFIX; "" for the one that goes without.
    """

    form: Form
    libraries: tuple[str, ...]
    suffix: str = ""


class Target(Protocol):
    """One class of hardware, by the name TARGET.

    FORMATS holds what it can be given, each named like the runtime that opens it; where there are
    several, what was measured says which of them is worth keeping.
    """

    TARGET: str
    FORMATS: Mapping[str, Format]

    def lower(self, model: Any, artifact_format: str, folder: Path) -> Artifact:
        """Write the model into `folder` in one of FORMATS: same model, same bytes.

        Raises Unsupported, with the reason, for a model that this format cannot hold or that this
        machine cannot run, and BadInput for a broken one.
        """
