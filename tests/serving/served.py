"""A service in a process of its own, on a port of loopback."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["Served", "served"]


class Served:
    """A running service: `ask` sends a request of any kind, `send` any bytes."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process, self.port, self.log = process, port, log

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, seconds: float = 20
    ) -> tuple[int, dict[str, str], Any]:
        """Status, headers and body (parsed where it is JSON)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request(method, path, data, {"Content-Type": "application/json"} | (headers or {}))
            reply = connection.getresponse()
            raw = reply.read()
            kind = reply.headers.get_content_type()
            return reply.status, dict(reply.headers.items()), json.loads(raw) if kind.endswith("json") and raw else raw
        finally:
            connection.close()

    def send(self, data: bytes, seconds: float = 5) -> bytes:
        """What comes back for these bytes, until the other side ends or the time is over."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            connection.sendall(data)
            found = b""
            with contextlib.suppress(TimeoutError, ConnectionError):
                while chunk := connection.recv(2**16):
                    found += chunk
        return found

    def kill(self) -> None:
        """As a machine would that loses its power: no process of it has time for anything."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def served(model: Path, folder: Path, *options: str, port: int | None = None) -> Iterator[Served]:
    """Start ``twotower serve``, and end it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of who was killed may still linger
        probe.bind(("127.0.0.1", port or 0))
        free = probe.getsockname()[1]
    log = folder / "service.log"
    command = [sys.executable, "-m", "twotower", "serve", str(model), "--port", str(free), *options]
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    running = Served(process, free, log)
    try:
        for _ in range(600):
            if process.poll() is not None:
                raise AssertionError(f"the service ended: {log.read_text()}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                if running.ask("GET", "/readyz")[0] == 200:
                    break
            time.sleep(0.05)
        else:
            raise AssertionError(f"the service did not come up: {log.read_text()}")
        yield running
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                running.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
