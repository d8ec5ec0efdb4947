from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Protocol


class Answer(Protocol):
    """How a command ended; see the conftest."""

    status: int
    out: str
    err: str


Call = Callable[..., Answer]


def test_findings_come_with_evidence_reason_and_fix(call: Call, finished: Path) -> None:
    answer = call("diagnose", finished)
    assert answer.status == 0, answer.err
    lines = answer.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.endswith("[stuck_loss]") for line in lines)  # two epochs of four steps
    for start in ("fault: ", "  - ", "  why: ", "  fix: ", "3 findings in 10 checks", "not checked: popularity_only: "):
        assert any(line.startswith(start) for line in lines), start


def test_json_is_the_last_line_and_strict_fails(call: Call, finished: Path) -> None:
    answer = call("diagnose", finished, "--json", "--strict")
    assert answer.status == 1
    assert answer.err == ""
    found = json.loads(answer.out.splitlines()[-1])
    assert found["run_dir"] == str(finished)
    assert "stuck_loss" in [finding["code"] for finding in found["findings"]]
    assert sorted([*found["made"], *found["not_made"]]) == sorted(set(found["made"]) | set(found["not_made"]))
    assert len(found["made"]) + len(found["not_made"]) == 12


def test_a_folder_without_a_run_is_one_line(call: Call, tmp_path: Path) -> None:
    answer = call("diagnose", tmp_path)
    assert answer.status == 1
    assert answer.err.startswith("twotower: ")
    assert "Traceback" not in answer.err
