"""The gateway as a process: how it starts, refuses to start, reloads, drains and ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from builders import TOY, shelve, shelve_cascade, variant
from gateway_process import FAREBOX, PATIENCE_S, Gateway, farebox, gateway, toy
from msgspec.structs import replace
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from model_repo.store import Store

MADE = [variant("ref", 0.01, 0.95), variant("low", 0.001, 0.8)]
TIMES = {"ref": {"fill": 3.0}, "low": {"fill": 1.0}}
SLOW = replace(TOY, name="slow", batches=False)


def stock(root: Path, *, is_slow: bool = False) -> Store:
    """A repository of its own; the slow model takes half a second a request."""
    store = shelve(root, *MADE, times=TIMES)
    if is_slow:
        lone = variant("ref", 0.5, sizes=(1,), model=SLOW)
        shelve(root, lone, model=SLOW, times={"ref": {"device_s": 0.5}})
    return store


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def refused(*arguments: str | Path) -> str:
    """The one sentence of a start that was refused."""
    done = farebox("serve", *arguments)
    assert done.returncode == 2 and done.stdout == ""
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("farebox"))
    assert line.startswith("farebox serve: ") and "Traceback" not in done.stderr
    return line


@pytest.mark.parametrize("what", ["http", "grpc", "metrics"])
def test_a_port_in_use_ends_the_start_with_a_sentence(shelf: Path, what: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ports = [word for each in ("http", "grpc", "metrics")
                 for word in (f"--{each}-port", port if each == what else "0")]  # fmt: skip
        line = refused("--repository", shelf, *ports)
    assert f"{what}_port 127.0.0.1:{port} cannot be opened" in line


def test_one_port_for_two_ends_the_start(shelf: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    ports = ["--http-port", port, "--metrics-port", port, "--grpc-port", "0"]
    assert "cannot be opened" in refused("--repository", shelf, *ports)


@pytest.mark.parametrize("flags", [[], ["--check-config"]])
@pytest.mark.parametrize(
    ("config", "word"),
    [
        ("nope: 1", "nope"),
        ("policy: cheapst", "no 'cheapst' in routing"),
        ("models: {toy: {policy: none}}", "no 'none' in routing"),
        ("drain_s: .inf", "drain_s"),
        ("a: [", "YAML"),
        ("prices: /nowhere.yaml", "/nowhere.yaml"),
    ],
)
def test_a_wrong_setting_ends_the_start_and_the_check(
    shelf: Path, tmp_path: Path, config: str, word: str, flags: list[str]
) -> None:
    file = write(tmp_path / "config.yaml", config)
    assert word in refused("--repository", shelf, "--config", file, *flags)


def test_a_missing_settings_file_is_named(shelf: Path, tmp_path: Path) -> None:
    assert "none.yaml" in refused("--repository", shelf, "--config", tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("prices", "word"),
    [
        ("targets: {}\nprices: []", "no instance type to the target 'cpu'"),
        ("targets: {cpu: box}\nprices: []", "'box', which has no price"),
        ("targets: {cpu: box}", "prices"),
    ],
)
def test_a_price_book_without_the_key_ends_the_start(
    shelf: Path, tmp_path: Path, prices: str, word: str
) -> None:
    assert word in refused("--repository", shelf, "--prices", write(tmp_path / "p.yaml", prices))


def test_a_sound_configuration_is_checked_and_shown(tmp_path: Path, book: Path) -> None:
    config = write(tmp_path / "c.yaml", "{policy: cheapest, models: {toy: {policy: cheapest}}}")
    done = farebox("serve", "--check-config", "--config", config, "--prices", book)
    told = json.loads(done.stdout)
    assert done.returncode == 0 and (told["policy"], told["allow_estimated"]) == ("cheapest", False)
    done = farebox("serve", "--check-config", "--prices", book, "--allow-estimated")
    assert json.loads(done.stdout)["allow_estimated"] is True


def test_a_flag_wins_over_the_file_which_wins_over_the_environment(
    shelf: Path, tmp_path: Path, book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAREBOX_REPOSITORY", "from-environment")
    config = write(tmp_path / "c.yaml", f"{{repository: from-file, prices: {book}}}")
    told = [
        json.loads(farebox("serve", "--check-config", *flags).stdout)
        for flags in ([], ["--config", config], ["--config", config, "--repository", shelf])
    ]
    found = [each["repository"] for each in told]
    assert found == ["from-environment", "from-file", str(shelf)]
    assert told[1]["prices"] == str(book)


def test_an_unknown_model_is_no_defect_in_the_log(tmp_path: Path, book: Path, shelf: Path) -> None:
    with gateway("--repository", shelf, "--prices", book) as up:
        for path in ("", "/config", "/ready"):
            assert up.ask("GET", f"/v2/models/nope{path}")[0] == 404
        assert up.stop() == 0
        assert [line for line in up.lines if line.get("level") == "error"] == []
        assert all(line.get("is_json", True) for line in up.lines)


def test_an_empty_repository_is_served_and_not_ready(tmp_path: Path, book: Path) -> None:
    with gateway("--repository", tmp_path / "none", "--prices", book) as up:
        assert up.ask("GET", "/v2/health/live")[0] == 200
        status, _, body = up.ask("GET", "/v2/health/ready")
        assert status == 503 and json.loads(body)["error"]
        assert up.infer("toy", toy())[0] == 404
        assert up.stop() == 0


def test_the_welcome_shows_calls_that_work(shelf: Path, book: Path) -> None:
    ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    process = subprocess.Popen(
        [*FAREBOX, "serve", "--repository", shelf, "--prices", book, "--welcome", *ports],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        assert lines[0].startswith("farebox serves ")
        done = subprocess.run(lines[1], shell=True, capture_output=True, text=True, check=True)
        assert "outputs" in json.loads(done.stdout)
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_S)


def test_report_only_serves_the_reference(tmp_path: Path, book: Path) -> None:
    stock(tmp_path / "r")
    with gateway("--repository", tmp_path / "r", "--prices", book, "--report-only") as up:
        status, answer = up.infer("toy", toy(slo_min_accuracy=1.0))
        assert status == 200 and answer["outputs"][0]["data"] == [3.0, 3.0]
        facts = answer["parameters"]
        assert (facts["variant"], facts["slo_met"]) == ("ref", False)
        assert up.infer("toy", toy())[1]["parameters"]["routed_variant"] == "low"


def test_best_effort_by_model(tmp_path: Path, book: Path) -> None:
    stock(tmp_path / "r", is_slow=True)
    config = write(tmp_path / "c.yaml", "models: {toy: {on_infeasible: best_effort}}")
    with gateway("--repository", tmp_path / "r", "--prices", book, "--config", config) as up:
        status, answer = up.infer("toy", toy(slo_min_accuracy=0.99))
        assert status == 200
        assert (answer["parameters"]["variant"], answer["parameters"]["slo_met"]) == ("ref", False)
        status, answer = up.infer("slow", toy(slo_latency_ms=1))
        assert status == 422 and "latency" in answer["error"]


def test_past_the_bound_requests_are_refused_and_told_when_to_return(
    tmp_path: Path, book: Path
) -> None:
    stock(tmp_path / "r", is_slow=True)
    config = write(tmp_path / "c.yaml", "{max_in_flight: 2, cores: 2}")
    with (
        gateway("--repository", tmp_path / "r", "--prices", book, "--config", config) as up,
        ThreadPoolExecutor(2) as threads,
    ):
        asked = [threads.submit(up.infer, "slow", toy()) for _ in range(2)]
        wait_until_full(up)
        status, headers, body = up.ask("POST", "/v2/models/toy/infer", json.dumps(toy()).encode())
        assert status == 503 and int(headers["retry-after"]) >= 1
        assert "max_in_flight" in json.loads(body)["error"]
        assert over_grpc(up, "toy") == "UNAVAILABLE"
        are_answered(asked)
        assert up.is_well()


def test_a_deadline_ends_what_runs(tmp_path: Path, book: Path) -> None:
    store = stock(tmp_path / "r", is_slow=True)
    lone = variant("ref", 0.001, sizes=(1,), model=SLOW)  # it says 1 ms and takes half a second
    shelve(store.root, lone, model=SLOW, times={"ref": {"device_s": 0.5}})
    with gateway("--repository", tmp_path / "r", "--prices", book) as up:
        status, answer = up.infer("slow", toy(timeout=100_000))
        assert status == 504 and "no answer within the 100.000 ms allowed" in answer["error"]
        assert up.is_well()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_in_flight_is_answered_before_the_end(
    tmp_path: Path, book: Path, number: int
) -> None:
    stock(tmp_path / "r", is_slow=True)
    config = write(tmp_path / "c.yaml", "{cores: 2, max_in_flight: 4}")
    with (
        gateway("--repository", tmp_path / "r", "--prices", book, "--config", config) as up,
        ThreadPoolExecutor(4) as threads,
    ):
        asked: list[Future[Any]] = [threads.submit(up.infer, "slow", toy()) for _ in range(2)]
        called = [threads.submit(over_grpc, up, "slow") for _ in range(2)]
        wait_until_full(up)
        up.signal(number)
        are_answered(asked)
        assert [each.result(PATIENCE_S) for each in called] == ["OK", "OK"]
        assert up.stop() == 0
    messages = [line["message"] for line in up.lines]
    assert messages[-1] == "stopped" and "draining" in messages
    assert not any(line.get("is_json") is False for line in up.lines), up.lines


def wait_until_full(up: Gateway) -> None:
    """Until as many requests as may be are in flight; what it asks never is."""
    while up.infer("toy", toy(slo_min_accuracy=1.0))[0] == 422:
        pass


def over_grpc(up: Gateway, model: str) -> str:
    """The status of one inference over gRPC."""
    message = pb.ModelInferRequest(model_name=model, raw_input_contents=[bytes(16)])
    message.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    with grpc.insecure_channel(f"127.0.0.1:{up.grpc}") as channel:
        try:
            service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(message, timeout=60)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


def are_answered(asked: list[Future[Any]]) -> None:
    for each in asked:
        status, answer = each.result(PATIENCE_S)
        assert status == 200 and answer["outputs"]


def test_asked_twice_it_ends_at_once(tmp_path: Path, book: Path) -> None:
    stock(tmp_path / "r", is_slow=True)
    with (
        gateway("--repository", tmp_path / "r", "--prices", book) as up,
        socket.create_connection(("127.0.0.1", up.http), PATIENCE_S) as wire,
    ):
        wire.sendall(b"POST /v2/models/toy/infer HTTP/1.1\r\nContent-Length: 9\r\n\r\n{")
        up.is_well()
        up.signal(signal.SIGTERM)
        up.wait_for("draining")
        up.signal(signal.SIGTERM)
        assert up.process.wait(PATIENCE_S) == 1


@pytest.mark.parametrize("by", ["signal", "poll"])
def test_a_reload_under_load_fails_no_request(tmp_path: Path, book: Path, by: str) -> None:
    store = stock(tmp_path / "r")
    poll_s = 0.05 if by == "poll" else 3600
    config = write(tmp_path / "c.yaml", f"{{poll_s: {poll_s}, cores: 2}}")
    with (
        gateway("--repository", store.root, "--prices", book, "--config", config) as up,
        ThreadPoolExecutor(4) as threads,
    ):
        is_over = threading.Event()

        def load() -> list[tuple[int, str]]:
            seen = []
            while not is_over.is_set():
                status, answer = up.infer("toy", toy())
                seen.append((status, answer.get("parameters", answer).get("variant", "")))
            return seen

        tasks = [threads.submit(load) for _ in range(3)]
        try:
            for step in range(6):
                cheap = variant("new", 0.0005, 0.8)
                if step % 2:
                    store.remove("toy", "1", "new")
                else:
                    shelve(store.root, cheap, times={"new": {"fill": float(step)}})
                if by == "signal":
                    up.signal(signal.SIGHUP)
                up.wait_for("catalog loaded", variants=wanted(step))
        finally:
            is_over.set()
        seen = [each for task in tasks for each in task.result(PATIENCE_S)]
    assert seen and {status for status, _ in seen} == {200}
    assert {name for _, name in seen} <= {"low", "new"}


def wanted(step: int) -> list[str]:
    """The catalog after a step: the reference, then the cheapest first."""
    names = ["ref", "low"] if step % 2 else ["ref", "new", "low"]
    return [f"toy/1/{name}" for name in names]


def test_what_breaks_on_the_shelf_goes_on_being_served_as_it_was(
    tmp_path: Path, book: Path
) -> None:
    store = stock(tmp_path / "r")
    with gateway("--repository", store.root, "--prices", book) as up:
        assert up.infer("toy", toy())[1]["parameters"]["variant"] == "low"
        (store.root / "toy" / "1" / "low" / "variant.json").write_text("{")
        up.signal(signal.SIGHUP)
        assert "variant.json cannot be read" in up.wait_for(str(store.root))["message"]
        up.wait_for("catalog loaded")
        assert up.infer("toy", toy())[1]["parameters"]["variant"] == "low"


def test_what_the_memory_cap_leaves_out_is_said_once(tmp_path: Path, book: Path) -> None:
    store = stock(tmp_path / "r")
    shelve_cascade(store, "cas", "low", "ref")
    config = write(tmp_path / "c.yaml", "{memory_cap_bytes: 1000, poll_s: 3600}")
    with gateway("--repository", store.root, "--prices", book, "--config", config) as up:
        assert up.infer("toy", toy(variant="cas"))[0] == 404
        stock(store.root, is_slow=True)
        up.signal(signal.SIGHUP)
        up.wait_for("catalog loaded")
    lines = [line for line in up.lines if line["message"] == "left out by memory_cap_bytes"]
    assert [(line["level"], line["variants"]) for line in lines] == [
        ("warning", ["toy/1/low", "toy/1/cas"])
    ]


def test_the_environment_names_the_repository(tmp_path: Path, book: Path) -> None:
    stock(tmp_path / "r")
    os.environ["FAREBOX_REPOSITORY"] = str(tmp_path / "r")
    try:
        with gateway("--prices", book) as up:
            assert up.is_well()
    finally:
        del os.environ["FAREBOX_REPOSITORY"]
