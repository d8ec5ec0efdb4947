"""The benchmark behind the rule of row updates runs, on the smallest sizes, and says what the rule costs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent.parent.parent / "benchmarks" / "table_updates.py"


@pytest.mark.slow
def test_both_updates_are_measured_and_the_rule_is_held_to_them() -> None:
    sizes = ["--widths", "16", "--lookups", "64", "--rows", "64,65536", "--steps", "1", "--repeats", "1"]
    done = subprocess.run([sys.executable, str(PROGRAM), *sizes], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert [case["rule"] for case in found["cases"]] == ["dense", "rows"] * 4
    assert all(case["dense_s"] > 0 and case["rows_s"] > 0 for case in found["cases"])
    assert found["rule_costs"]["most"] >= found["rule_costs"]["most_by_rows"] >= 1
