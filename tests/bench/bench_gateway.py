"""What the gateway adds to a bare model call: routing time, throughput, server CPU a request.

`make bench` runs it. Figures are ratios against bare servers in the same run, because machines
differ and drift; the baselines and Farebox take turns, and the median of the ratios is printed.
The baseline uses Starlette's own request and response and runs each call alone; Farebox reads the
bytes itself and may batch the 16 connections. That is part of what is compared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import load
import mlp
import numpy as np
import servers
import uvloop
from bare import open_model
from load import Load
from tritonclient.grpc import service_pb2 as pb

INFER = "/v2/models/mlp/infer"
METHOD = "/inference.GRPCInferenceService/ModelInfer"
HTTP_TARGET, GRPC_TARGET = 1.5, 1.4
SLO_MS = 1000.0  # every request asks for a bound, so that routing has something to check


def json_body() -> bytes:
    data = np.random.default_rng(1).random(mlp.SIZES[0], np.float32).round(4).tolist()
    tensor = {"name": "x", "shape": [1, mlp.SIZES[0]], "datatype": "FP32", "data": data}
    return json.dumps({"inputs": [tensor]}).encode()


def grpc_message() -> bytes:
    message = pb.ModelInferRequest(model_name="mlp")
    message.inputs.add(name="x", datatype="FP32", shape=[1, mlp.SIZES[0]])
    message.parameters["slo_latency_ms"].double_param = SLO_MS
    message.raw_input_contents.append(np.zeros((1, mlp.SIZES[0]), np.float32).tobytes())
    return bytes(message.SerializeToString())


def bare_call_us(model: Path) -> float:
    """Median microseconds of one session.run at batch 1."""
    session = open_model(str(model))
    feed = {"x": np.zeros((1, mlp.SIZES[0]), np.float32)}
    times = []
    for _ in range(3000):
        start = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


async def measure(work: Path, seconds: float, rounds: int) -> dict[str, list[Load]]:
    model, repository = work / "mlp.onnx", work / "models"
    ports = [servers.free_port() for _ in range(4)]
    request = [load.http_request(INFER, json_body(), {"x-slo-latency-ms": str(SLO_MS)})]
    found: dict[str, list[Load]] = {"bare http": [], "http": [], "bare grpc": [], "grpc": []}
    with (
        servers.running(servers.bare("http", model, ports[0]), ports[0]) as bare_http,
        servers.running(servers.bare("grpc", model, ports[1]), ports[1]) as bare_grpc,
        servers.running(servers.gateway(repository, ports[2], ports[3]), ports[2]) as ours,
    ):
        for turn in range(rounds):
            print(f"round {turn + 1} of {rounds}", file=sys.stderr)
            found["bare http"].append(await load.http(ports[0], bare_http.pid, request, seconds))
            found["http"].append(await load.http(ports[2], ours.pid, request, seconds))
            for name, port, pid in (
                ("bare grpc", ports[1], bare_grpc.pid),
                ("grpc", ports[3], ours.pid),
            ):
                found[name].append(
                    await load.grpc_unary(port, pid, METHOD, grpc_message(), seconds)
                )
    return found


def check(found: dict[str, list[Load]]) -> None:
    """A figure over refused requests would be no figure."""
    for name, loads in found.items():
        errors = sum(each.errors for each in loads)
        assert not errors, f"{name}: {errors} answers were not 200"


def row(name: str, loads: list[Load]) -> str:
    latencies = np.concatenate([each.latencies_s for each in loads]) * 1e3
    rate = statistics.median(each.per_second for each in loads)
    cpu = statistics.median(each.cpu_us for each in loads)
    return (
        f"{name:<12} {rate:>10,.0f} {cpu:>14.0f} {np.percentile(latencies, 50):>9.2f} "
        f"{np.percentile(latencies, 99):>9.2f}"
    )


def verdict(name: str, ours: list[Load], bare: list[Load], target: float) -> str:
    ratios = [a.cpu_us / b.cpu_us for a, b in zip(ours, bare, strict=True)]
    ratio = statistics.median(ratios)
    word = "met" if ratio <= target else "MISSED"
    return (
        f"{name}: server CPU per request {ratio:.2f}x the bare one "
        f"({min(ratios):.2f} to {max(ratios):.2f}; target at most {target}x: {word})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    subprocess.run([sys.executable, str(Path(__file__).parent / "bench_routing.py")], check=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        mlp.write(work / "mlp.onnx")
        subprocess.run(
            [
                sys.executable,
                "-m",
                "model_repo.cli",
                "import",
                str(work / "mlp.onnx"),
                "--repository",
                str(work / "models"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        print(f"bare ONNX Runtime call, batch 1: {bare_call_us(work / 'mlp.onnx'):.1f} us")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(measure(work, args.seconds, args.rounds))
    check(found)
    print(f"{'64-256-256-10 MLP, 16 connections':<36}")
    print(f"{'server':<12} {'requests/s':>10} {'server CPU us':>14} {'p50 ms':>9} {'p99 ms':>9}")
    for name, loads in found.items():
        print(row(name, loads))
    print(verdict("HTTP", found["http"], found["bare http"], HTTP_TARGET))
    print(verdict("gRPC", found["grpc"], found["bare grpc"], GRPC_TARGET))


if __name__ == "__main__":
    main()
