"""What is asked of the gateway and what it answers, free of any wire format."""

from __future__ import annotations

import math

from msgspec import Struct

from model_repo.records import NO_SLO, SLO, Source, VariantKey
from model_repo.tensors import Array

Parameter = bool | int | float | str
Body = bytes | bytearray
Part = bytes | memoryview
DEFAULT_TENANT = "default"


class Place(Struct, frozen=True):
    """Bytes of a shared memory region that its client registered."""

    region: str
    offset: int
    byte_size: int


class OutputAsk(Struct, frozen=True):
    """One output the client listed; `binary` is how it wants the bytes.

    classes: so many of the largest values with their labels instead of the tensor; 0 for that
    itself. place: where to put it instead of into the answer.
    """

    name: str
    binary: bool = False
    classes: int = 0
    place: Place | None = None


class InferRequest(Struct, frozen=True):
    """One call; `received_s` and `deadline_s` are monotonic seconds, the deadline hard.

    slo: the bounds asked for; variant: a pin ("" for none); outputs: () asks for all.
    """

    model: str
    version: str
    inputs: dict[str, Array]
    received_s: float
    deadline_s: float = math.inf
    slo: SLO = NO_SLO
    id: str = ""
    outputs: tuple[OutputAsk, ...] = ()
    binary_default: bool = False
    variant: str = ""
    explain: bool = False
    tenant: str = DEFAULT_TENANT
    trace: dict[str, str] = {}


class InferResponse(Struct, frozen=True):
    """The outputs in the order asked, and our facts in `parameters`."""

    request: InferRequest
    model: str
    version: str
    outputs: dict[str, Array]
    parameters: dict[str, Parameter]


class Facts(Struct, frozen=True):
    """How one request was served, for its answer and its log line.

    queue_s: before both batches of a cascade that went on to its second stage; escalated: the rows
    that did, None for what is no cascade. source: of the variant's profile. runs_on: the device
    that stood in for the variant's target, "" where none had to; cost_usd is what that was paid,
    target_cost_usd what the profile says the target itself would be.
    """

    key: VariantKey
    target: str
    cost_usd: float
    accuracy_low: float
    forecast_latency_s: float
    batch_size: int
    queue_s: float
    escalated: int | None = None
    source: Source = "measured"
    runs_on: str = ""
    target_cost_usd: float = 0.0
