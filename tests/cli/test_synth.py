"""``twotower synth``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from twotower.cli.synth import SynthProgress
from twotower.datasets import LivestreamTruth, Synthesizing

Call = Callable[..., tuple[int, str, str]]


def test_a_log_and_its_truth(call: Call, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    status, out, err = call("synth", "livestream", "--rows", "300", "--seed", "4", "--out", log)
    assert (status, err) == (0, "")
    assert out.splitlines()[0].startswith(f"{log}: 300 rows in ")
    assert out.splitlines()[1] == f"{log}.truth: the truth about them"
    assert pl.read_csv(log).shape == (300, 18)
    assert LivestreamTruth.open(log).facts.seed == 4


def test_json_and_a_folder(call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "log"
    status, out, _ = call("synth", "livestream", "--rows", "300", "--out", folder, "--format", "parquet", "--json")
    found = json.loads(out)
    assert status == 0
    assert {key: found[key] for key in ("path", "truth", "rows", "seed")} == {
        "path": str(folder), "truth": f"{folder}.truth", "rows": 300, "seed": 0,
    }  # fmt: skip
    assert pl.read_parquet(folder / "part-00000.parquet").height == 300


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["livestream", "--rows", "0", "--out", "log.csv"], 2, "twotower: rows must be in [1, 2,000,000,000]; came 0\n"),
        (["livestrem", "--out", "log.csv"], 2, "no planted world 'livestrem'; did you mean 'livestream'?"),
        (["livestream", "--out", "log.csv", "--format", "xml"], 2, "there is no format 'xml'"),
        (["livestream", "--rows", "10", "--out", "log.txt"], 2, "must end in .csv or .parquet"),
        (["livestream", "--rows", "10", "--out", "a_file/log.csv"], 1, "can't be written"),
    ],
)
def test_faults_are_one_message(
    arguments: list[str], status: int, says: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").write_text("")
    came, out, err = call("synth", *arguments)
    assert (came, out) == (status, "")
    assert says in err
    assert err.count("\n") == 1


def test_progress_shows_the_rate_and_how_far() -> None:
    with SynthProgress() as progress:
        progress(Synthesizing(50, 200, 0.5))
        task = progress.progress.tasks[0]
        assert (task.completed, task.total, task.fields["rate"]) == (50, 200, "100 rows/s")
