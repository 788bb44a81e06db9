"""Dollars come from the price in force on a day, and a book that cannot be used is refused."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_repo.cli import main
from model_repo.errors import BadInput
from model_repo.options import read_prices
from model_repo.prices import Price, PriceBook, parse_price_book

START = date(2026, 1, 1)


def price(instance: str = "small", usd: float = 1.0, since: date = START) -> Price:
    return Price(instance, "vcpu", 4, usd, since, "a list")


def test_a_device_second_is_an_hour_divided_by_seconds_and_devices() -> None:
    assert price(usd=14.4).usd_per_device_s == pytest.approx(0.001)


@given(st.sets(st.integers(0, 400), min_size=1), st.integers(0, 500))
def test_the_latest_price_not_after_the_day_holds(days: set[int], day: int) -> None:
    book = PriceBook(
        {}, tuple(price(usd=1.0 + since, since=START + timedelta(since)) for since in sorted(days))
    )
    at = START + timedelta(day)
    before = [since for since in days if since <= day]
    if before:
        assert book.price("small", at).usd_per_hour == 1.0 + max(before)
    else:
        with pytest.raises(BadInput, match="add one with an earlier 'from'"):
            book.price("small", at)


def test_an_unknown_instance_or_target_says_what_there_is() -> None:
    book = PriceBook({"cpu": "small"}, (price(),))
    assert book.target_price("cpu", START) == price()
    with pytest.raises(BadInput, match="it has small; add it under 'prices'"):
        book.price("large", START)
    with pytest.raises(BadInput, match="add 'gpu: INSTANCE' under 'targets'"):
        book.target_price("gpu", START)


GOOD = """
targets: {cpu: small}
prices:
  - {instance: small, device: vcpu, devices: 2, usd_per_hour: 0.1, from: 2026-01-01, source: s}
"""


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("cpu: small", "cpu: large", "'cpu' is mapped to 'large', which has no price"),
        ("devices: 2", "devices: 0", "devices"),
        ("usd_per_hour: 0.1", "usd_per_hour: -1", "usd_per_hour"),
        ("usd_per_hour: 0.1", "usd_per_hour: .inf", "usd_per_hour"),
        ("usd_per_hour: 0.1", "usd_per_hour: .nan", "usd_per_hour"),
        ("usd_per_hour: 0.1", "usd_per_hour: 1e-300", "usd_per_hour"),
        ("usd_per_hour", "usd_per_day", "no key 'usd_per_day': the allowed keys are instance"),
        ("source: s", "region: r", "lacks the key 'source'"),
        ("2026-01-01", "2026-13-45", "'2026-13-45' is no date"),
        ("source: s", "sorce: s", "sorce"),
        ("2026-01-01", "yesterday", "from"),
        ("targets: {cpu: small}", "targets: {cpu: small, cpu: small}", "stands twice"),
        ("prices:", "prices: [", "not valid YAML"),
    ],
)
def test_a_book_that_cannot_be_used_is_refused(old: str, new: str, reason: str) -> None:
    assert parse_price_book(GOOD, "book.yaml").targets == {"cpu": "small"}
    with pytest.raises(BadInput, match=reason):
        parse_price_book(GOOD.replace(old, new, 1), "book.yaml")


def test_two_prices_of_one_day_are_refused() -> None:
    with pytest.raises(BadInput, match="'small' has two prices from 2026-01-01"):
        parse_price_book(GOOD + GOOD.splitlines()[-1], "book.yaml")


def test_every_target_of_the_shipped_book_has_a_price_today_and_a_source() -> None:
    book = read_prices(None)
    for target in book.targets:
        assert book.target_price(target, date(2026, 7, 1)).usd_per_device_s > 0
    assert all(entry.source for entry in book.prices)


def test_the_command_shows_every_target_of_an_instance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "book.yaml"
    path.write_text(GOOD.replace("cpu: small", "npu: small, cpu: small"))
    assert main(["prices", "--prices", str(path)]) == 0
    assert "cpu, npu" in capsys.readouterr().out
    assert main(["prices", "--prices", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["target"] == "cpu, npu"


def test_the_command_prints_the_prices_of_a_day(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "book.yaml"
    path.write_text(GOOD)
    assert main(["prices", "--prices", str(path), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["usd_per_device_s"] == pytest.approx(0.1 / 2 / 3600) and row["target"] == "cpu"
    assert main(["prices", "--prices", str(path)]) == 0
    assert "small" in capsys.readouterr().out
    assert main(["prices", "--prices", str(path), "--at", "2020-01-01"]) == 2
    assert "no instance has a price as early as 2020-01-01" in capsys.readouterr().err
    assert main(["prices", "--at", "soon"]) == 2
    assert "write it as 2026-01-31" in capsys.readouterr().err
    assert main(["prices", "--prices", str(tmp_path / "absent.yaml")]) == 2
    (tmp_path / "latin.yaml").write_bytes(b"\xff")
    assert main(["prices", "--prices", str(tmp_path / "latin.yaml")]) == 2
    assert "is not UTF-8 text (byte 0)" in capsys.readouterr().err


def test_a_variant_is_priced_by_the_device_that_it_is_timed_for() -> None:
    book = parse_price_book(
        """
targets: {gpu: one-small}
prices:
  - {instance: one-small, device: S, devices: 1, usd_per_hour: 1, from: 2026-01-01, source: x}
  - {instance: two-large, device: L, devices: 2, usd_per_hour: 9, from: 2026-01-01, source: x}
  - {instance: eight-large, device: L, devices: 8, usd_per_hour: 32, from: 2026-01-01, source: x}
  - {instance: eight-large, device: L, devices: 8, usd_per_hour: 8, from: 2026-06-01, source: x}
  - {instance: later, device: L, devices: 1, usd_per_hour: 0.5, from: 2026-06-01, source: x}
""",
        "book",
    )
    day = date(2026, 2, 1)
    assert book.target_price("gpu", day).instance == "one-small"
    assert book.target_price("gpu", day, "S").instance == "one-small"
    assert book.target_price("gpu", day, "L").instance == "eight-large", "for each device"
    assert book.target_price("gpu", date(2026, 7, 1), "L").instance == "later"
    assert book.target_price("gpu", day, "unheard of").instance == "one-small"
