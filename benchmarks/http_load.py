"""Requests over keep-alive connections of loopback: as fast as they are answered, or at a rate that nobody holds up.

At a given rate, requests come at random moments (a Poisson process), whether or not earlier ones were answered; a latency
counts from the moment at which its request should have been sent, so that a server that stands still is not let off.

    python benchmarks/http_load.py --port 8000 --bodies bodies.jsonl --seconds 10 --connections 32
    python benchmarks/http_load.py --port 8000 --bodies bodies.jsonl --seconds 10 --rate 500
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from collections import deque
from pathlib import Path
from typing import cast

__all__ = ["main"]


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self) -> None:
        self.future: asyncio.Future[int] | None = None
        self.buffer = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # a loop in C has a class of its own

    def ask(self, request: bytes) -> asyncio.Future[int]:
        assert self.transport is not None
        self.future = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.future

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, rest = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        lower = head.lower()
        at = lower.find(b"content-length:")
        size = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(rest) < size or self.future is None:
            return
        self.buffer = b""
        future, self.future = self.future, None
        if not future.done():
            future.set_result(int(head[9:12]))

    def connection_lost(self, _: Exception | None) -> None:
        if self.future is not None and not self.future.done():
            self.future.set_exception(ConnectionError("the server ended the connection"))


async def load(
    port: int, requests: list[bytes], *, seconds: float, connections: int, rate: float | None, warm_up_s: float = 1.0
) -> dict[str, float]:
    """Ask for some seconds, after some that don't count; figures in requests a second and milliseconds."""
    loop = asyncio.get_running_loop()
    dice = random.Random(7)
    free: deque[_Connection] = deque()
    for _ in range(connections):
        _, protocol = await loop.create_connection(_Connection, "127.0.0.1", port)
        free.append(protocol)
    latencies: list[float] = []
    failed = 0
    began = time.perf_counter() + warm_up_s
    end = began + seconds

    async def ask(connection: _Connection, due: float) -> None:
        nonlocal failed
        status = await connection.ask(dice.choice(requests))
        done = time.perf_counter()
        if began <= due and done <= end + 1:
            if status == 200:
                latencies.append(done - due)
            else:
                failed += 1

    if rate is None:

        async def closed(connection: _Connection) -> None:
            while (now := time.perf_counter()) < end:
                await ask(connection, now)

        await asyncio.gather(*(closed(connection) for connection in free))
    else:
        waiting: deque[float] = deque()
        tasks: set[asyncio.Task[None]] = set()

        async def serve(connection: _Connection, due: float) -> None:
            await ask(connection, due)
            if waiting:
                task = asyncio.create_task(serve(connection, waiting.popleft()))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            else:
                free.append(connection)

        due = began - warm_up_s
        while due < end:
            due += dice.expovariate(rate)
            if (pause := due - time.perf_counter()) > 0:
                await asyncio.sleep(pause)
            if free:
                task = asyncio.create_task(serve(free.popleft(), due))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            else:
                waiting.append(due)
        while tasks:
            await asyncio.gather(*tasks)
    ordered = sorted(latencies)
    return {
        "requests_per_s": len(ordered) / seconds,
        "p50_ms": 1e3 * statistics.median(ordered),
        "p99_ms": 1e3 * ordered[int(0.99 * (len(ordered) - 1))],
        "failed": failed,
    }


def main() -> None:
    """Measure, and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--bodies", type=Path, required=True, help="a body per line")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rate", type=float, help="requests a second; without it, as fast as they are answered")
    options = parser.parse_args()
    requests = []
    for body in options.bodies.read_bytes().splitlines():
        head = "POST /v1/recommend HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        requests.append((head % len(body)).encode() + body)
    work = load(options.port, requests, seconds=options.seconds, connections=options.connections, rate=options.rate)
    try:
        import uvloop

        found = uvloop.run(work)
    except ImportError:
        found = asyncio.run(work)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
