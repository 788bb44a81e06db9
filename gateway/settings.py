"""What an operator may set, as pure records; the command reads the file and the flags."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, structs

from model_repo import documents
from model_repo.errors import BadInput

Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
OnInfeasible = Literal["reject", "best_effort"]


class ModelSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What one model has of its own; None means as for all."""

    policy: str | None = None
    on_infeasible: OnInfeasible | None = None


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """Every setting of `farebox serve --config FILE.yaml`, with its default.

    cores: CPUs the in-process variants may keep busy; 0 takes the container's limit.
    slo_percentile: the percentile latency is promised at. margin_s: kept back from every deadline.
    on_infeasible: when no variant meets the SLO, `reject` or answer as well as can be.
    report_only: the reference serves everyone; what routing would have cost is metered beside it.
    allow_estimated: let profiles that were not measured on real hardware take part in routing.
    inline_s: a batch expected to take no longer runs on the event loop itself, since waking a
    thread would cost more; the expectation counts the 20 to 100 us in which a woken thread finds
    its caches cold. max_in_flight: requests queued or running at once. patience_s: by when a
    request without a deadline is due, for the order of the queue only. poll_s: how often the
    repository is looked at. lame_duck_s: after SIGTERM, how long requests are still taken while
    readiness says no, so that balancers notice. drain_s: how long requests in flight may take
    after that. memory_cap_bytes: of all loaded variants together, cheapest first after the
    references; the log says what it leaves out. 0 is no cap. trace_file: where clients may have
    requests traced to (Triton's trace extension), a line of JSON each; "" lets them trace nothing.
    """

    host: str = "127.0.0.1"
    http_port: Port = 8000
    grpc_port: Port = 8001
    metrics_port: Port = 8002
    server_name: str = "farebox"
    repository: str | None = None
    prices: str | None = None
    cores: Annotated[int, Meta(ge=0, le=1024)] = 0
    policy: str = "cheapest"
    on_infeasible: OnInfeasible = "reject"
    models: dict[str, ModelSettings] = {}
    slo_percentile: Annotated[float, Meta(ge=0.5, le=0.99)] = 0.99
    margin_s: Annotated[float, Meta(ge=0, le=60)] = 0.0002
    patience_s: Seconds = 1.0
    inline_s: Annotated[float, Meta(ge=0, le=0.001)] = 0.00025
    max_in_flight: Annotated[int, Meta(ge=1)] = 1024
    max_body_bytes: Annotated[int, Meta(ge=1)] = 128 * 2**20
    memory_cap_bytes: Annotated[int, Meta(ge=0)] = 0
    poll_s: Seconds = 5.0
    lame_duck_s: Annotated[float, Meta(ge=0, le=300)] = 0.5
    drain_s: Seconds = 30.0
    report_only: bool = False
    allow_estimated: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_requests: bool = False
    trace_file: str = ""

    def policy_of(self, model: str) -> str:
        """The name of the policy that routes this model's requests."""
        own = self.models.get(model)
        return own.policy if own and own.policy else self.policy

    def on_infeasible_of(self, model: str) -> OnInfeasible:
        """What to do when nothing meets the SLO of a request for this model."""
        own = self.models.get(model)
        return own.on_infeasible if own and own.on_infeasible else self.on_infeasible


def parse(text: str, name: str) -> Settings:
    """Read a YAML settings file; raises BadInput naming the key that is wrong."""
    return documents.parse(text, Settings, name)


def override(settings: Settings, **given: object) -> Settings:
    """`settings` with what the command line gave (None: not given); raises BadInput."""
    changed = structs.replace(settings, **{k: v for k, v in given.items() if v is not None})
    for flag in ("http_port", "grpc_port", "metrics_port"):
        port = getattr(changed, flag)
        if not 0 <= port <= 65535:
            raise BadInput(f"{flag} is {port}: choose 0 to 65535 (0 takes any free port)")
    return changed
