"""The benchmark of log-Q from streams runs, on small sizes, and finds that the conservative sketch is the nearest."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent.parent.parent / "benchmarks" / "streamed_log_q.py"


@pytest.mark.slow
def test_every_way_is_measured_and_the_conservative_sketch_is_the_nearest() -> None:
    sizes = ["--ids", "20000", "--batches", "200", "--widths", "2048"]
    done = subprocess.run([sys.executable, str(PROGRAM), *sizes], capture_output=True, text=True, check=True)
    ways = {entry["way"]: entry for entry in json.loads(done.stdout.splitlines()[-1])["ways"]}
    held, plain, conservative, *gaps = (
        ways[way]["bias"] for way in ("counts", "sketch, plain", "sketch, conservative", "gaps, rate 0.01", "gaps, rate 0.05")
    )
    assert 0 < held < conservative < plain < min(gaps)
    assert ways["sketch, plain"]["bytes"] == ways["gaps, rate 0.01"]["bytes"] == 4 * 4 * 2048
