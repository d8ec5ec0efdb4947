"""The benchmark of propagation runs, on the smallest sizes, and its contestants agree."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parent.parent.parent / "benchmarks" / "propagation.py"


def test_all_ways_give_the_same_numbers() -> None:
    sizes = ["--users", "30", "--items", "40", "--edges", "500", "--width", "16", "--layers", "2", "--repeats", "1"]
    done = subprocess.run([sys.executable, str(PROGRAM), *sizes], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found["layer_s"]) == {"kernel", "weighted bags", "sparse matrices"}
    assert set(found["step_s"]) == {"1", "2"}
    assert 0 < found["edges"] < 500
    assert found["largest_difference"] < 1e-5
