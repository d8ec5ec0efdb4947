"""A thousand swaps under load: nothing fails, nothing is mixed, and memory stays what it was."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.serving.conftest import TOKEN
from tests.serving.served import Served, served
from tests.serving.test_versions import QUERY
from tests.serving.test_versions import published as published

BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("swaps", "workers"), [(30, 1), pytest.param(1000, 1, marks=pytest.mark.slow), pytest.param(100, 2, marks=pytest.mark.slow)]
)
def test_swaps_of_a_running_service(
    published: tuple[Path, str, str], tmp_path: Path, token_file: Path, swaps: int, workers: int
) -> None:
    folder, first, second = published
    options = ["--token-file", str(token_file), "--log-level", "warning", "--workers", str(workers)]
    with served(folder, tmp_path, *options) as running:
        known: dict[str, Any] = {}
        for name in (second, first):
            assert running.ask("POST", "/v1/model:activate", {"version": name}, BEARER)[0] == 200
            while name not in known:
                reply = running.ask("POST", "/v1/recommend", QUERY)[2]
                known[reply["version"]] = reply
        faults: list[Any] = []
        end = threading.Event()
        answered = [0, 0]

        def asking(number: int) -> None:
            while not end.is_set():
                status, _, reply = running.ask("POST", "/v1/recommend", QUERY)
                if status != 200 or reply != known.get(reply.get("version")):
                    faults.append((status, reply))
                answered[number] += 1

        crowd = [threading.Thread(target=asking, args=(number,)) for number in range(2)]
        for thread in crowd:
            thread.start()
        settled = 0.0
        for number in range(swaps):
            status, _, reply = running.ask("POST", "/v1/model:activate", {"version": (second, first)[number % 2]}, BEARER)
            assert status == 200, reply
            if number == min(swaps // 3, 100):
                settled = _resident(running)
        grown = _resident(running) - settled
        end.set()
        for thread in crowd:
            thread.join()
    assert not faults
    assert known[first]["results"] != known[second]["results"]
    assert sum(answered) > swaps / 2
    if workers == 1 and swaps > 500:
        assert grown < 20 * 2**20, f"{grown / 2**20:.0f} MiB more than after the first swaps"


def _resident(running: Served) -> float:
    text = running.ask("GET", "/metrics")[2].decode()
    found = re.search(r"(?m)^process_resident_memory_bytes (\S+)", text)
    assert found is not None
    return float(found.group(1))
