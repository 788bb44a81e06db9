"""Settings are read strictly, and every mistake is named."""

from __future__ import annotations

import pytest

from gateway import settings
from gateway.settings import Settings
from model_repo.errors import BadInput


def test_an_empty_file_is_the_defaults() -> None:
    assert settings.parse("", "f") == Settings()


def test_a_model_may_differ_from_the_rest() -> None:
    found = settings.parse("models: {a: {policy: fastest, on_infeasible: best_effort}, b: {}}", "f")
    assert (found.policy_of("a"), found.on_infeasible_of("a")) == ("fastest", "best_effort")
    assert (found.policy_of("b"), found.on_infeasible_of("b")) == ("cheapest", "reject")
    assert (found.policy_of("c"), found.on_infeasible_of("c")) == ("cheapest", "reject")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("nope: 1", "nope"),
        ("models: {a: {polcy: x}}", "polcy"),
        ("http_port: 65536", "http_port"),
        ("http_port: eight", "http_port"),
        ("cores: -1", "cores"),
        ("poll_s: 0", "poll_s"),
        ("poll_s: .inf", "poll_s"),
        ("drain_s: .inf", "drain_s"),
        ("patience_s: .nan", "patience_s"),
        ("margin_s: -1", "margin_s"),
        ("margin_s: .inf", "margin_s"),
        ("slo_percentile: 0.999", "slo_percentile"),
        ("max_in_flight: 0", "max_in_flight"),
        ("max_body_bytes: 0", "max_body_bytes"),
        ("on_infeasible: guess", "on_infeasible"),
        ("log_level: loud", "log_level"),
        ("host: a\nhost: b", "host"),
        ("a: [", "YAML"),
        ("- a", "mapping"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(text: str, key: str) -> None:
    with pytest.raises(BadInput, match=rf"^the file.*{key}"):
        settings.parse(text, "the file")


def test_the_command_line_wins_where_it_says_something() -> None:
    found = settings.override(Settings(host="a", http_port=1), host=None, http_port=0)
    assert (found.host, found.http_port) == ("a", 0)


@pytest.mark.parametrize("port", [-1, 65536])
@pytest.mark.parametrize("flag", ["http_port", "grpc_port", "metrics_port"])
def test_a_port_on_the_command_line_is_checked_as_in_the_file(flag: str, port: int) -> None:
    with pytest.raises(BadInput, match=f"{flag} is {port}"):
        settings.override(Settings(), **{flag: port})
