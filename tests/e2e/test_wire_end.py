"""The end of a gateway: what was sent is answered, and what takes too long does not hold it up."""

from __future__ import annotations

import http.client
import json
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from builders import TOY, shelve, variant
from gateway_process import PATIENCE_S, Gateway, gateway, toy
from msgspec.structs import replace

SLOW = replace(TOY, name="slow", batches=False)


def stock(root: Path, seconds: float = 0.0) -> Path:
    """The toy model, and one whose runs take `seconds`."""
    shelve(root, variant("ref", 0.001, 0.95))
    lone = variant("ref", max(seconds, 0.001), sizes=(1,), model=SLOW)
    shelve(root, lone, model=SLOW, times={"ref": {"device_s": seconds}})
    return root


def keep_asking(up: Gateway, seen: Counter[str], stop: threading.Event) -> None:
    """One keep-alive connection after the other, as a client behind a pool has them."""
    body = json.dumps(toy()).encode()
    while not stop.is_set():
        connection = http.client.HTTPConnection("127.0.0.1", up.http, timeout=PATIENCE_S)
        try:
            connection.connect()
        except OSError:
            seen["refused"] += 1
            return
        try:
            while not stop.is_set():
                connection.request("POST", "/v2/models/toy/infer", body)
                answer = connection.getresponse()
                answer.read()
                seen[str(answer.status)] += 1
                if answer.getheader("connection") == "close":
                    break
        except OSError:
            seen["lost"] += 1
            return
        finally:
            connection.close()


def test_no_request_is_lost_at_the_end(tmp_path: Path, book: Path) -> None:
    seen: Counter[str] = Counter()
    stop = threading.Event()
    with (
        gateway("--repository", stock(tmp_path / "r"), "--prices", book) as up,
        ThreadPoolExecutor(8) as threads,
    ):
        asking = [threads.submit(keep_asking, up, seen, stop) for _ in range(8)]
        while seen["200"] < 200:
            time.sleep(0.01)
        up.signal(signal.SIGTERM)
        assert up.stop() == 0
        stop.set()
        for each in asking:
            each.result(PATIENCE_S)
    assert seen["lost"] == 0 and seen.keys() <= {"200", "refused", "lost"}, seen


def test_readiness_turns_first_and_requests_are_still_taken(tmp_path: Path, book: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("lame_duck_s: 30")
    root = stock(tmp_path / "r")
    with gateway("--repository", root, "--prices", book, "--config", config) as up:
        up.signal(signal.SIGTERM)
        up.wait_for("draining")
        assert up.ask("GET", "/v2/health/ready")[0] == 503
        assert up.is_well()
        up.signal(signal.SIGTERM)  # asked twice: not for half a minute more
        assert up.stop() == 1


def test_a_run_that_outlasts_the_drain_is_told_so_and_ends(tmp_path: Path, book: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("{drain_s: 1, lame_duck_s: 0}")
    root = stock(tmp_path / "r", seconds=50.0)
    with (
        gateway("--repository", root, "--prices", book, "--config", config) as up,
        ThreadPoolExecutor(1) as threads,
    ):
        asked = threads.submit(up.infer, "slow", toy())
        while b'state="attributed"' not in up.ask("GET", "/metrics")[2] or not up.is_well():
            pass
        time.sleep(0.2)
        up.signal(signal.SIGTERM)
        status, answer = asked.result(PATIENCE_S)
        assert status == 503 and "shutting down" in answer["error"]
        start = time.monotonic()
        assert up.stop() == 0
        assert time.monotonic() - start < 30, "it does not wait for the run"
