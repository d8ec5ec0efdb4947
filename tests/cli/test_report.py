"""``twotower report``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from twotower.reports.draw import Drawing

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def sketches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawings that cost nothing."""
    import sys

    import twotower.reports

    del twotower
    monkeypatch.setattr(
        sys.modules["twotower.reports.write"], "draw", lambda chart: Drawing(f"<svg>{chart.key}</svg>", chart.key.encode())
    )


def test_a_report_says_its_verdict_and_where_it_is(call: Call, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    status, out, err = call("report", tmp_path / "run", "--no-baselines", "--no-diagnosis")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[-1] == f"report: {tmp_path / 'run' / 'report' / 'report.html'}"
    assert any(line.startswith("The model") or line.startswith("the model") for line in lines)
    assert (tmp_path / "run" / "report" / "figures").is_dir()


def test_options_reach_the_report(call: Call, finished: Path, tmp_path: Path) -> None:
    arguments = ("report", finished, finished, "--output", tmp_path / "out", "--label", "a", "--label", "b", "--json")
    status, out, _ = call(*arguments, "--no-baselines", "--no-diagnosis", "--users", "1")
    assert status == 0
    told = json.loads(out)
    assert told["page"] == str(tmp_path / "out" / "report.html")
    assert told["page_bytes"] == (tmp_path / "out" / "report.html").stat().st_size
    assert all(Path(chart).is_file() for chart in told["charts"])
    assert any("b and a: no difference that this test set can show" in sentence for sentence in told["verdict"])
    figures = json.loads(Path(told["figures"]).read_text())
    assert [run["label"] for run in figures["runs"]] == ["a", "b"]
    assert len(figures["runs"][0]["users_shown"]) == 1
    assert figures["runs"][0]["diagnosis"] is None
    assert {ranker["name"] for ranker in figures["runs"][0]["rankers"]} == {"model", "popularity", "random"}


def test_a_diagnosis_is_part_of_it_unless_it_is_declined(call: Call, finished: Path, tmp_path: Path) -> None:
    status, _, _ = call("report", finished, "--output", tmp_path / "out", "--no-baselines")
    assert status == 0
    assert json.loads((tmp_path / "out" / "report.json").read_text())["runs"][0]["diagnosis"]["made"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("nowhere",), 1, "no bundle or run folder at nowhere"),
        (("{run}", "{run}"), 2, "--output DIR"),
        (("{run}", "--output", "{run}"), 2, "holds other things than a report"),
        (("{run}", "--output", "{out}", "--label", "a", "--label", "b"), 2, "came 2 for 1 runs"),
        (("{run}/bundle", "--output", "{out}", "--no-baselines"), 1, "needs the whole folder of a finished run"),
    ],
)
def test_what_can_not_be_reported_is_one_message(
    arguments: tuple[str, ...], status: int, said: str, call: Call, finished: Path, tmp_path: Path
) -> None:
    found = call("report", *(each.format(run=finished, out=tmp_path / "out") for each in arguments))
    assert found[0] == status
    assert said in found[2]
    assert found[2].count("\n") == 1
    assert not (tmp_path / "out").exists()
