"""Settings all tests share: property tests repeat themselves, profiles are short, skips tell."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

from compilers.profiling import timing

# A busy machine is no defect, so no example has a time limit.
settings.register_profile(
    "farebox", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("farebox")


@pytest.fixture(autouse=True)
def short_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test asks how fast a model is, so none waits until that is known."""
    monkeypatch.setattr(timing, "CHUNK_RUNS", 3)
    monkeypatch.setattr(timing, "SPAN_S", 0.0)
    monkeypatch.setattr(timing, "LIMIT_S", 0.0)


HARDWARE = re.compile(r"GPU|TPU|this CPU")
"""What a reason names if it is hardware that a test was skipped for."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-skips",
        action="store_true",
        help="a test that is skipped for want of anything but hardware has failed",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    return _strict(item.config, report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    return _strict(collector.config, report)


Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def _strict(config: pytest.Config, report: Report) -> Report:
    is_asked = config.getoption("--no-skips") and report.outcome == "skipped"
    if is_asked and not hasattr(report, "wasxfail") and not HARDWARE.search(str(report.longrepr)):
        report.outcome = "failed"
        report.longrepr = f"skipped, which --no-skips forbids: {report.longrepr}"
    return report
