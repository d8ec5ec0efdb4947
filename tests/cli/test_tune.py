"""``twotower tune``: what it prints, writes and refuses."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from twotower.cli.tune import TuneProgress
from twotower.runs.trial_record import TrialEnd, TrialRecord
from twotower.runs.tuning import TuningProgress


class Answer(NamedTuple):
    status: int
    out: str
    err: str


Call = Callable[..., Answer]
TUNE = ("--set", "tune.loss.temperature={low=0.5,high=2.0,log=true}")


def test_a_recipe_is_tuned_told_and_trained(call: Call, world: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    folder = tmp_path / "tune"
    answer = call("tune", world / "recipe.toml", *TUNE, "--trials", "3", "--run-dir", folder)
    assert (answer.status, answer.err) == (0, "")  # no terminal, no progress
    lines = answer.out.splitlines()
    assert lines[0] == "small: recall@3 of 8 validation rows (more is better), 3 trials (3 finished)"
    assert any(line.split()[:2] == ["loss.temperature", "1.0"] for line in lines)
    assert f"recipe: {folder / 'best.toml'}" in lines
    assert f"next:   twotower train {folder / 'best.toml'}" in lines
    again = call(
        "tune", world / "recipe.toml", *TUNE, "--trials", "4", "--run-dir", folder, "--resume", "--no-report", "--json"
    )
    summary = json.loads(again.out)
    assert summary["trials"] == {"done": 4} or summary["trials"] == {"done": 3, "pruned": 1}
    trained = call("train", folder / "best.toml", "--run-dir", tmp_path / "run", "--json")
    assert trained.status == 0, trained.err
    validation = json.loads(trained.out)["selection"]["validation"]["recall@3"]
    assert validation == pytest.approx(summary["best"]["value"])  # the run is the trial, to the bit
    refused = call("tune", world / "recipe.toml", *TUNE, "--set", "training.epochs=3", "--run-dir", folder, "--resume")
    assert refused.status == 2
    assert "the tuning there is of another recipe (training.epochs is 3, was 2)" in refused.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--set", "tune.loss.tempreture={low=0.5,high=2.0}"), "did you mean 'temperature'"),
        (("--set", "tune.loss.temperature={lo=0.5,high=2.0}"), "unknown key; did you mean 'low'"),
        (("--set", "split.validation=0"), "split.validation gives no rows"),
        (("--metric", "recall@7"), "--metric 'recall@7': validation gives"),
        (("--pruner", "medain"), "--pruner 'medain': must be one of median, hyperband, none"),
        (("--resume", "--overwrite"), "give one of them"),
        (("--trials", "0"), "--trials"),
    ],
)
def test_wrong_usage_is_one_message(call: Call, world: Path, tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    pytest.importorskip("optuna")
    answer = call("tune", world / "recipe.toml", "--run-dir", tmp_path / "tune", *options)
    assert (answer.status, answer.out) == (2, "")
    assert message in answer.err
    assert "Traceback" not in answer.err


def test_without_optuna_the_extra_is_named(call: Call, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    answer = call("tune", world / "recipe.toml", "--run-dir", tmp_path / "tune")
    assert answer.status == 1
    assert "pip install 'twotower[tune]'" in answer.err


def test_progress_tells_trials_values_best_and_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    best = TrialRecord(2, "done", {}, {}, TrialEnd("done", 0.5, 1, 2))
    event = TuningProgress(3, 9, {4: (2, 0.25), 5: None}, best, 150.0, "a [note]")
    with TuneProgress() as quiet:
        quiet(event)
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.setenv("COLUMNS", "160")
    with TuneProgress() as progress:
        progress(event)
        shown = capsys.readouterr().err
    for words in ("3/9 trials", "trial 4: .2500 at epoch 2", "trial 5", "best .5000 (trial 2)", "2 min 30 s left", "a [note]"):
        assert words in shown
