"""A Redis server of a test's own, on a port of loopback, with its files in a folder."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

__all__ = ["DURABLE", "RedisServer", "needs_redis"]

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")

needs_redis = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("redis") is None, reason="redis is not installed: pip install 'twotower[redis]'"),
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="there is no redis-server on the path"),
]


class RedisServer:
    """Started by `start`, which may be called again after `kill`; `stop` ends it."""

    def __init__(self, folder: Path, *settings: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
        self._command += settings or DURABLE
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> RedisServer:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(100)[:5] in (b"+PONG", b"-NOAU"):
                    return self
            time.sleep(0.02)
        raise AssertionError("redis-server did not come up")

    def kill(self) -> None:
        """As a machine would that loses its power."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None
