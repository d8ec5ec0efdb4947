"""The benchmarks of the engine run, on the smallest sizes, and end in one line of JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"

pytestmark = pytest.mark.slow

SMALL = {
    "loss": ["--batches", "64,128", "--repeats", "1", "--eager-up-to", "64"],
    "feed": ["--rows", "2000", "--users", "50", "--items", "60", "--batch", "256", "--workers", "1", "--repeats", "1"],
    "large_catalogue": [
        "--users",
        "600",
        "--items",
        "700",
        "--rows",
        "4000",
        "--batch",
        "128",
        "--steps",
        "1",
        "--repeats",
        "1",
    ],
}


def last_line(name: str, *more: str) -> dict[str, Any]:
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *SMALL[name], *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["benchmark"] == name
    return found


def test_the_loss_is_measured_and_eager_is_counted_where_it_does_not_fit() -> None:
    small, large = last_line("loss")["sizes"]
    assert set(small["seconds"]) == {"ours", "ours, bfloat16", "eager", "eager, bfloat16"}
    assert set(large["seconds"]) == {"ours", "ours, bfloat16"}
    assert (small["eager_bytes_are_counted"], large["eager_bytes_are_counted"]) == (False, True)


def test_the_feed_is_measured_beside_loaders() -> None:
    assert set(last_line("feed")["ratios"]) == {"DataLoader", "DataLoader, 1 workers", "DataLoader, whole batches"}


def test_what_plain_pytorch_learns_is_measured_too() -> None:
    found = last_line("large_catalogue", "--recall")
    assert set(found["ratios"]) == {"Adam", "SparseAdam"}
    recall = found["recall@100"]
    assert min(recall[side] for side in ("ours", "Adam", "SparseAdam")) > 0.1
