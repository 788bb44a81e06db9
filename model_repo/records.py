"""The records both halves share: what a model and its variants are, and what is known of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from msgspec import Struct, field

Metric = Literal["accuracy", "agreement", "cosine"]
"""accuracy: right answers against labels; agreement: same argmax as the reference;
cosine: mean row cosine to the reference's output. The last two are called fidelity."""

Kind = Literal["reference", "variant", "cascade"]
Source = Literal["measured", "emulated", "estimated"]

SETTLED = 0.05
"""How far, as a share of it, the true median device time may lie from the measured one."""
QUIET = 0.1
"""The share of a host's CPU time that others may take while it is measured."""


class TensorSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """One input or output; `shape` includes the batch axis, -1 stands for any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class Model(Struct, frozen=True, forbid_unknown_fields=True):
    """A named function with a fixed signature, at one version.

    `batches` says that axis 0 of every tensor is a batch axis along which requests may be joined.
    `scored_output` is the output accuracy is measured on.
    """

    name: str
    version: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batches: bool
    metric: Metric = "accuracy"
    scored_output: str = ""
    labels: tuple[str, ...] = ()


class VariantKey(Struct, frozen=True, forbid_unknown_fields=True, order=True):
    """Names one variant; prints as `resnet/3/gpu-int8`."""

    model: str
    version: str
    variant: str

    def __str__(self) -> str:
        return f"{self.model}/{self.version}/{self.variant}"


class PassStep(Struct, frozen=True, forbid_unknown_fields=True):
    """One pass with the options it ran with."""

    name: str
    options: dict[str, Any] = {}


class Artifact(Struct, frozen=True, forbid_unknown_fields=True):
    """The bytes that run; `path` is relative to the variant's folder, `format` names a runtime."""

    path: str
    format: str
    sha256: str
    size_bytes: int


class LatencyPoint(Struct, frozen=True, forbid_unknown_fields=True):
    """Wall time percentiles and median busy device-seconds of one batch of `batch_size`.

    device_low_s, device_high_s: the 95 % interval of device_s; 0 and 0 where it is not known.
    """

    batch_size: int
    p50_s: float
    p95_s: float
    p99_s: float
    device_s: float
    runs: int
    device_low_s: float = 0.0
    device_high_s: float = 0.0

    @property
    def is_settled(self) -> bool:
        """Whether the median is known to within SETTLED of itself, or no run was to tell it."""
        return (
            not self.runs or self.device_high_s - self.device_low_s <= 2 * SETTLED * self.device_s
        )


class Origin(Struct, frozen=True, forbid_unknown_fields=True):
    """Where, when and with what something was measured."""

    host: str
    measured_at: datetime
    seed: int
    versions: dict[str, str]


class Profile(Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of a variant; `accuracy_low` and `accuracy_high` bound a 95 % interval.

    cpu_flags: the host's instruction sets on which speed depends. others_share: of the host's CPU
    time, what other processes took meanwhile. accuracy_origin: where accuracy was measured, if
    that was not with the rest: another host changes times, not answers.
    source: measured on the target's own hardware; emulated, its design was run bit for bit and
    timed by its clock; estimated, by the maker's compiler or from published figures. Of the last
    two every time is the upper end of what is likely, and host says whose figure it is.
    hardware: what the price book calls the device that the times are of; "" for that of whatever
    instance stands for the target.
    """

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    accuracy_samples: int
    latency: tuple[LatencyPoint, ...]
    load_s: float
    memory_bytes: int
    host: str
    source: Source
    measured_at: datetime
    threads: int = 1
    seed: int = 0
    versions: dict[str, str] = {}
    energy_joules: float | None = None
    cpu_flags: tuple[str, ...] = ()
    others_share: float = 0.0
    accuracy_origin: Origin | None = None
    hardware: str = ""

    @property
    def is_settled(self) -> bool:
        """Whether the host was quiet and every median held, as far as one measurement tells."""
        return self.others_share <= QUIET and all(point.is_settled for point in self.latency)

    @property
    def machine(self) -> tuple[str, ...]:
        """Where it was measured: the host and its instruction sets."""
        return (self.host, *self.cpu_flags)

    @property
    def largest_batch(self) -> int:
        """The largest batch size that was measured."""
        return self.latency[-1].batch_size

    @property
    def best_point(self) -> LatencyPoint:
        """The batch size that costs the fewest device-seconds an item."""
        return min(self.latency, key=lambda point: point.device_s / point.batch_size)


class Cascade(Struct, frozen=True, forbid_unknown_fields=True):
    """What the artifact of a cascade holds: ask `first`, and go on to `second` where it is unsure.

    first, second: variants of the same model version, neither of them a cascade; their artifacts'
    SHA-256 as calibrated. A row of `output`, scores [n, k], goes on when the difference of its two
    largest scores is under `threshold`. escalation: the share of rows expected to go on.
    """

    first: str
    first_sha256: str
    second: str
    second_sha256: str
    output: str
    threshold: float
    escalation: float


class Skip(Struct, frozen=True, forbid_unknown_fields=True):
    """Why a variant that was asked for is not on the shelf.

    digest: of what went into it, if making it again would end the same way; "" if it may be tried
    again.
    """

    reason: str
    digest: str = ""


class Variant(Struct, frozen=True, forbid_unknown_fields=True):
    """One way to compute a model; `digest` covers everything that went into making it."""

    key: VariantKey
    kind: Kind
    target: str
    artifact: Artifact
    profile: Profile
    steps: tuple[PassStep, ...] = ()
    digest: str = ""
    notes: dict[str, float | str] = field(default_factory=dict)


class SLO(Struct, frozen=True, forbid_unknown_fields=True):
    """The bounds one request asks for; None means no bound."""

    latency_s: float | None = None
    min_accuracy: float | None = None
    max_cost_usd: float | None = None


NO_SLO = SLO()


class Candidate(Struct, frozen=True, gc=False):
    """A variant with its forecast for one request, as a policy sees it.

    latency_s: wait plus service at the setting's percentile. cost_usd: this request's share of
    the batch it would join. load: requests queued for the variant. batch: items of that batch.
    """

    key: VariantKey
    accuracy_low: float
    latency_s: float
    cost_usd: float
    load: int
    running: bool
    batch: int


class Ask(Struct, frozen=True, gc=False):
    """What a policy is told of one request.

    slack_s: seconds left for queue and service once the gateway's own overhead and margin are
    taken off; infinite without a latency bound. draw: a number in [0, 1), for policies that
    need chance. state: the policy's own, kept between calls.
    """

    slo: SLO
    slack_s: float
    tenant: str
    now_s: float
    draw: float
    state: dict[str, Any]
