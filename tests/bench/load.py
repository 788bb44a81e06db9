"""Drives a server with a fixed number of connections and reads its CPU time from /proc."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Load:
    """What one run of load measured."""

    requests: int
    seconds: float
    server_cpu_s: float
    latencies_s: list[float]
    errors: int = 0

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds

    @property
    def cpu_us(self) -> float:
        return self.server_cpu_s / self.requests * 1e6


def cpu_seconds(pid: int) -> float:
    """User and system CPU seconds a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class _Connection(asyncio.Protocol):
    """Sends the next of its requests as soon as the last answer is whole."""

    def __init__(
        self,
        requests: list[bytes],
        until: float,
        done: asyncio.Future[None],
        watch: Callable[[bytes], None] | None,
    ) -> None:
        self._requests, self._until, self._done, self._watch = requests, until, done, watch
        self._buffer = bytearray()
        self.latencies: list[float] = []
        self.errors = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._start = time.perf_counter()
        self._transport.write(self._requests[len(self.latencies) % len(self._requests)])

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        text = bytes(self._buffer[:head]).lower()
        at = text.index(b"content-length:") + 15
        length = int(text[at : (text.find(b"\r\n", at) if b"\r\n" in text[at:] else len(text))])
        if len(self._buffer) < head + 4 + length:
            return
        self.errors += not text.startswith(b"http/1.1 200")
        if self._watch:
            self._watch(bytes(self._buffer[head + 4 :]))
        self._buffer.clear()
        self.latencies.append(time.perf_counter() - self._start)
        if time.perf_counter() < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(None)


def http_request(path: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """The bytes of one keep-alive POST."""
    lines = [f"POST {path} HTTP/1.1", "Host: bench", f"Content-Length: {len(body)}"]
    lines += [f"{k}: {v}" for k, v in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def http(
    port: int,
    pid: int,
    requests: list[bytes],
    seconds: float,
    connections: int = 16,
    watch: Callable[[bytes], None] | None = None,
) -> Load:
    """Closed-loop load over `connections`; a short warm-up is not counted.

    Answers other than 200 are counted in `errors`, and in the latencies too. watch: is given the
    body of each answer that counts.
    """
    await _http_once(port, requests, min(1.0, seconds / 4), connections)
    before, start = cpu_seconds(pid), time.perf_counter()
    latencies, errors = await _http_once(port, requests, seconds, connections, watch)
    took = time.perf_counter() - start
    return Load(len(latencies), took, cpu_seconds(pid) - before, latencies, errors)


async def _http_once(
    port: int,
    requests: list[bytes],
    seconds: float,
    connections: int,
    watch: Callable[[bytes], None] | None = None,
) -> tuple[list[float], int]:
    loop = asyncio.get_running_loop()
    until = time.perf_counter() + seconds
    protocols: list[_Connection] = []
    waits = []
    for index in range(connections):
        done: asyncio.Future[None] = loop.create_future()
        turned = requests[index % len(requests) :] + requests[: index % len(requests)]
        protocol = _Connection(turned, until, done, watch)
        await loop.create_connection(lambda p=protocol: p, "127.0.0.1", port)
        protocols.append(protocol)
        waits.append(done)
    await asyncio.gather(*waits)
    errors = sum(protocol.errors for protocol in protocols)
    return [latency for protocol in protocols for latency in protocol.latencies], errors


async def grpc_unary(
    port: int, pid: int, method: str, message: bytes, seconds: float, in_flight: int = 16
) -> Load:
    """Closed-loop unary calls with ready-made bytes, `in_flight` at a time on one channel each."""
    import grpc

    channels = [
        grpc.aio.insecure_channel(
            f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]
        )
        for _ in range(in_flight)
    ]
    calls = [channel.unary_unary(method) for channel in channels]

    async def one(call: Callable[[bytes], Any], until: float) -> list[float]:
        took = []
        while (start := time.perf_counter()) < until:
            await call(message)
            took.append(time.perf_counter() - start)
        return took

    async def all_for(length: float) -> list[float]:
        until = time.perf_counter() + length
        parts = await asyncio.gather(*(one(call, until) for call in calls))
        return [latency for part in parts for latency in part]

    await all_for(min(1.0, seconds / 4))
    before, start = cpu_seconds(pid), time.perf_counter()
    latencies = await all_for(seconds)
    took = time.perf_counter() - start
    load = Load(len(latencies), took, cpu_seconds(pid) - before, latencies)
    for channel in channels:
        await channel.close()
    return load
